"""`python -m infra.check`: Run the checks of files, manifests, policies, secrets and licences.

The extra `infra` has the tools; `make check-infra` installs it and runs all checks. Prints every
problem with its place. The exit status is 1 for any problem, 2 for an unknown check, or one whose
tool is missing or fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from infra.check import files, house, licences, openapi, overlays, policy, secret_scan, terraform
from infra.check.tools import ToolError
from infra.lock import check as locks
from musicgen.errors.counts import format_count

CHECKS = {
    "house": house.problems,
    "manifests": overlays.problems,
    "terraform": terraform.problems,
    "dockerfiles": files.check_dockerfiles,
    "scripts": files.check_scripts,
    "workflows": files.check_workflows,
    "rules": files.check_rules,
    "openapi": openapi.problems,
    "policy": policy.problems,
    "secrets": secret_scan.problems,
    "licences": licences.problems,
    "locks": locks.problems,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.check",
        description=(__doc__ or "").splitlines()[0].partition(": ")[2],
    )
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK", help=f"{', '.join(CHECKS)} (default: all)"
    )
    names = parser.parse_args(arguments).checks or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"unknown check: {', '.join(unknown)}. Choose from {', '.join(CHECKS)}.")
    count = 0
    for name in names:
        try:
            problems = CHECKS[name]()
        except ToolError as error:
            parser.exit(2, f"{name}: {error}\n")
        count += len(problems)
        found = format_count(len(problems), "problem") if problems else "no problems"
        sys.stdout.write(f"{name}: {found}\n")
        for problem in problems:
            sys.stdout.write(f"  {problem}\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
