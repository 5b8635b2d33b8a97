"""`python -m infra.deploy TARGET`: Deploy this checkout, or go back to an earlier release.

    python -m infra.deploy kubernetes --overlay production --dry-run
    python -m infra.deploy compose
    python -m infra.deploy replicate OWNER/MODEL --deployment OWNER/NAME
    python -m infra.deploy runpod NAME --image ghcr.io/OWNER/NAME@sha256:...
    python -m infra.deploy huggingface OWNER/NAME --endpoint NAME --model small
    python -m infra.deploy modal --model small --gpu L4
    python -m infra.deploy sagemaker NAME --image ECR@sha256:... --role ARN --async --output s3://...
    python -m infra.deploy cloudrun NAME --image REGION-docker.pkg.dev/...@sha256:...
    python -m infra.deploy vertex NAME --image REGION-docker.pkg.dev/...@sha256:...
    python -m infra.deploy kubernetes --overlay production --rollback

First it checks the credentials, cluster, driver, memory and bucket, and lists everything that is
missing. If a check fails, it changes nothing and exits with status 2. A deployment that fails later
exits with status 1. The same command again changes nothing. After SIGTERM or Ctrl-C the history has
the change so far. Meta's weights are licensed CC-BY-NC-4.0: no commercial use.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from infra.deploy.options import add_targets
from infra.deploy.run import DeployOptions, deploy
from infra.deploy.target import CheckError, DeployError, Target


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy",
        description=lines[0].partition(": ")[2],
        epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_targets(parser)
    options = parser.parse_args(arguments)
    try:
        return deploy(
            _build_target(options), DeployOptions(options.dry_run, options.rollback, options.to)
        )
    except DeployError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, CheckError) else 1


def _build_target(options: argparse.Namespace) -> Target:
    """Return the target. Raises: `CheckError`, because nothing has changed yet."""
    try:
        target: Target = options.target(options)
    except DeployError as error:
        raise CheckError(str(error)) from error
    return target


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Leave by an exception, so that the change so far gets into the history."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for _ending in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(_ending, _end)
    sys.exit(main())
