"""`python -m infra.terraform.overlay`: Write an overlay from the outputs of infra/terraform.

    tofu -chdir=infra/terraform/aws output -json | python -m infra.terraform.overlay

The overlay goes to infra/k8s/overlays/NAME; git ignores it if the name is `cluster`, the default.
`--api-digest` and `--worker-digest` name the images. Without them the overlay keeps those that it
has; a deployment refuses a new overlay without any.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.check.tools import ROOT

FOLDER = ROOT / "infra/k8s/overlays"
NO_DIGEST = "sha256:" + 64 * "0"
"""A deployment refuses it as a placeholder."""
_COMPONENTS = re.compile(r"[a-z][a-z-]*")
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+")
_FIELDS = (
    "cloud",
    "name",
    "host",
    "gateway_class",
    "components",
    "images",
    "gpu_nodes_max",
    "spot",
)
Facts = Mapping[str, Any]


class BadOutputs(ValueError):
    """The outputs are not those of infra/terraform."""


def read_facts(text: str) -> Facts:
    """Return the value of the output `overlay` in the text of `tofu output -json`.

    Raises: `BadOutputs`.
    """
    try:
        facts = json.loads(text)["overlay"]["value"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise BadOutputs(
            "outputs: no `overlay`. After an apply, give the text of "
            "`tofu -chdir=infra/terraform/aws output -json`."
        ) from None
    if not isinstance(facts, dict) or facts.keys() != set(_FIELDS):
        raise BadOutputs(f"overlay: has not the fields {', '.join(_FIELDS)}. Apply once more.")
    _check_text("host", facts["host"], _HOST)
    _check_text("gateway_class", facts["gateway_class"], _NAME)
    for name in ("api", "worker"):
        _check_text(f"images.{name}", facts["images"].get(name), _IMAGE)
    for name in facts["components"]:
        _check_text("components", name, _COMPONENTS)
        if not (FOLDER.parent / "components" / name).is_dir():
            raise BadOutputs(f"components: there is no component {name} in infra/k8s/components.")
    most = facts["gpu_nodes_max"]
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 100:
        raise BadOutputs(f"gpu_nodes_max: {most!r} is no whole number from 1 to 100.")
    return facts


def build_overlay(facts: Facts, api_digest: str, worker_digest: str) -> dict[str, Any]:
    """Return the content of `kustomization.yaml`: production or spot, with the cluster's facts."""
    import yaml

    spot = facts["spot"]
    base = yaml.safe_load(
        (FOLDER / ("spot" if spot else "production") / "kustomization.yaml").read_text("utf-8")
    )
    # First, because a component changes only the objects of those before it.
    base["components"][:0] = [f"../../components/{name}" for name in facts["components"]]
    # A placeholder would keep a GPU node, and its price, all the time.
    base["components"] = [c for c in base["components"] if not c.endswith("/placeholder")]
    digests = {"musicgen-api": api_digest, "musicgen-worker": worker_digest}
    base["images"] = [
        {
            "name": name,
            "newName": facts["images"][name.removeprefix("musicgen-")],
            "digest": digest,
        }
        for name, digest in digests.items()
    ]
    words = {"GATEWAY_CLASS": facts["gateway_class"], "music.example.com": facts["host"]}
    if spot:
        words |= {"SPOT_TAINT": spot["label"], "SPOT_LABEL": spot["label"]}
        words["SPOT_VALUE"] = json.dumps(spot["value"])
    for patch in base["patches"]:
        for word, value in words.items():
            patch["patch"] = patch["patch"].replace(word, value)
    most = [{"op": "replace", "path": "/spec/maxReplicaCount", "value": facts["gpu_nodes_max"]}]
    base["patches"].append(
        {"target": {"kind": "ScaledObject", "name": "musicgen-worker"}, "patch": json.dumps(most)}
    )
    content: dict[str, Any] = base
    return content


def write_overlay(facts: Facts, folder: Path, api_digest: str, worker_digest: str) -> Path:
    """Write `kustomization.yaml` into a folder and return its path."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kustomization.yaml"
    head = (
        f"# Written by `python -m infra.terraform.overlay` for {facts['cloud']}; do not edit it.\n"
    )
    content = build_overlay(facts, api_digest, worker_digest)
    # A killed run leaves the overlay as it was.
    new = path.with_suffix(".new")
    new.write_text(head + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    new.replace(path)
    return path


def read_digests(folder: Path) -> dict[str, str]:
    """Return the digests of an overlay by image; empty for a missing or damaged one."""
    import yaml

    try:
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        images = yaml.safe_load(text)["images"]
        found = {str(each["name"]): str(each["digest"]) for each in images}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}
    return {name: digest for name, digest in found.items() if _DIGEST.fullmatch(digest)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read outputs from standard input, write the overlay, print the next commands."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.terraform.overlay",
        description=(__doc__ or "").splitlines()[0].partition(": ")[2],
    )
    parser.add_argument(
        "--overlay", default="cluster", help="name of the overlay (default: cluster)"
    )
    for image in ("api", "worker"):
        parser.add_argument(f"--{image}-digest", metavar="sha256:...")
    given = parser.parse_args(arguments)
    for option in ("api_digest", "worker_digest"):
        digest = getattr(given, option)
        if digest is not None and not _DIGEST.fullmatch(digest):
            parser.error(
                f"--{option.replace('_', '-')}: sha256: and 64 digits, as a push prints it"
            )
    if not _NAME.fullmatch(given.overlay) or given.overlay in ("local", "production", "spot"):
        parser.error("--overlay: a new name of lower-case letters, digits and hyphens")
    try:
        facts = read_facts(sys.stdin.read())
    except BadOutputs as error:
        parser.exit(1, f"{error}\n")
    folder = FOLDER / given.overlay
    kept = read_digests(folder)
    api = given.api_digest or kept.get("musicgen-api", NO_DIGEST)
    worker = given.worker_digest or kept.get("musicgen-worker", NO_DIGEST)
    path = write_overlay(facts, folder, api, worker)
    sys.stdout.write(
        f"wrote {path.relative_to(ROOT)}\n"
        f"next: python -m infra.deploy kubernetes --overlay {given.overlay} --gpus-come --dry-run\n"
    )
    return 0


def _check_text(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadOutputs(f"{name}: {value!r} is not of the form {pattern.pattern}.")


if __name__ == "__main__":
    sys.exit(main())
