"""A worker in its image decodes like one outside, and faster than an image without a compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from infra.images.build import Image
from tests.images.caller import say
from tests.support import ROOT


def test_the_native_step_is_as_fast_in_the_image(images: Mapping[str, Image]) -> None:
    """Only the tokens are compared with those outside: a time within 3 % needs an idle machine."""
    command = ("bench/image_speed.py", "--seconds", "4", "--rounds", "3")
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ratios = json.loads(done.stdout.splitlines()[-1])["ratios"]
    say(f"image over others: {ratios}")
    assert ratios["decode, image over image without the step"] >= 2
