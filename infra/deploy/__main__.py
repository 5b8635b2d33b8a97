"""`python -m infra.deploy TARGET`: brings this checkout to one place, and back again.

    python -m infra.deploy kubernetes --overlay production --dry-run
    python -m infra.deploy compose
    python -m infra.deploy replicate OWNER/MODEL --deployment OWNER/NAME
    python -m infra.deploy runpod NAME --image ghcr.io/OWNER/NAME@sha256:...
    python -m infra.deploy huggingface OWNER/NAME --endpoint NAME --model small
    python -m infra.deploy kubernetes --overlay production --rollback

First it checks what has to be so: credentials, cluster, driver, memory, bucket. If anything is not,
nothing is changed and the status is 2. The same command again changes nothing. Meta's weights are
licensed CC-BY-NC-4.0: no commercial use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from infra.deploy.options import add_targets
from infra.deploy.run import Wish, deploy
from infra.deploy.target import DeployError


def main(arguments: Sequence[str] | None = None) -> int:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy",
        description=lines[0].partition(": ")[2],
        epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_targets(parser)
    options = parser.parse_args(arguments)
    wish = Wish(options.dry_run, options.rollback, options.to)
    try:
        return deploy(options.target(options), wish)
    except DeployError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
