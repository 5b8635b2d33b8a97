"""`python -m infra.check`: every check, by the tool of its kind, which the extra `infra` brings.

`make check-infra` installs that and runs this. Prints what is wrong and where; the status is 1 if
anything is.
"""

from __future__ import annotations

import argparse
import sys

from infra.check import files, house, licences, overlays, policy, secret_scan

CHECKS = {
    "house": house.problems,
    "manifests": overlays.problems,
    "dockerfiles": files.dockerfiles,
    "scripts": files.scripts,
    "workflows": files.workflows,
    "rules": files.rules,
    "policy": policy.problems,
    "secrets": secret_scan.problems,
    "licences": licences.problems,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="*", choices=[[], *CHECKS], help="some of them")
    only = parser.parse_args().only or list(CHECKS)
    wrong = 0
    for name in only:
        problems = CHECKS[name]()
        wrong += len(problems)
        sys.stdout.write(f"{name}: {len(problems) or 'no'} problems\n")
        for problem in problems:
            sys.stdout.write(f"  {problem}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
