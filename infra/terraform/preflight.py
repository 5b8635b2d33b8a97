"""List everything that `make cluster` lacks, before it makes anything.

    python -m infra.terraform.preflight aws

The exit status is 2 where something is missing. It asks no cloud; OpenTofu does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from infra.check.terraform.modules import FOLDER, parse, read_module
from infra.check.tools import find_tool
from infra.deploy.run import show_checks
from infra.deploy.target import Check

CLOUDS = ("aws", "google")
VALUES = "terraform.tfvars"
EXIT_MISSING = 2
_PROGRAMS = {
    "tofu": "install OpenTofu (https://opentofu.org), or set TOFU=terraform",
    "kubectl": "install it (https://kubernetes.io/docs/tasks/tools); it deploys afterwards",
}
_CLOUD_PROGRAMS = {
    "aws": (
        "aws",
        "install it (https://aws.amazon.com/cli); OpenTofu asks it for the cluster's token",
    ),
    "google": (
        "gcloud",
        "install it (https://cloud.google.com/sdk); it adds the cluster to kubectl",
    ),
}
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_AWS_SOURCES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that name another source of credentials, as CloudShell and CI set them."""
_GOOGLE_TEXTS = ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CREDENTIALS")
_GOOGLE_FILE = ".config/gcloud/application_default_credentials.json"


def list_checks(
    cloud: str, environment: Mapping[str, str], folder: Path = FOLDER
) -> Iterator[Check]:
    """Yield the checks of a cluster on `cloud`: programs, credentials and variables."""
    for program, remedy in (*_PROGRAMS.items(), _CLOUD_PROGRAMS[cloud]):
        name = environment.get("TOFU", program) if program == "tofu" else program
        is_there = shutil.which(name, path=environment.get("PATH")) or find_tool(name)
        yield Check(name, bool(is_there), "" if is_there else remedy)
    yield _check_aws(environment) if cloud == "aws" else _check_google(environment)
    yield from _check_variables(folder / cloud, environment)


def _check_aws(environment: Mapping[str, str]) -> Check:
    """Check that there are credentials where OpenTofu looks; OpenTofu asks AWS whose they are."""
    folder = Path(environment.get("HOME", "~")) / ".aws"
    keys = {name: bool(environment.get(name)) for name in _AWS_KEYS}
    if any(keys.values()):
        missing = ", ".join(name for name, is_set in keys.items() if not is_set)
        return Check("AWS credentials", not missing, missing and f"set {missing} too")
    files = (
        Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials"),
        Path(environment.get("AWS_CONFIG_FILE") or folder / "config"),
    )
    are_there = any(environment.get(name) for name in _AWS_SOURCES)
    are_there = are_there or any(file.is_file() for file in files)
    remedy = f"none: run `aws sso login`, or set {' and '.join(_AWS_KEYS)}"
    return Check("AWS credentials", are_there, "" if are_there else remedy)


def _check_google(environment: Mapping[str, str]) -> Check:
    given = environment.get("GOOGLE_APPLICATION_CREDENTIALS")
    path = Path(given) if given else Path(environment.get("HOME", "~")) / _GOOGLE_FILE
    is_there = path.is_file() or any(environment.get(name) for name in _GOOGLE_TEXTS)
    found = f"GOOGLE_APPLICATION_CREDENTIALS names {given}, which is missing" if given else "none"
    remedy = f"{found}: run `gcloud auth application-default login`"
    return Check("Google credentials", is_there, "" if is_there else remedy)


def _check_variables(folder: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    """Check that each variable without a default has a value; OpenTofu checks the value."""
    if find_spec("hcl2") is None:
        remedy = "the package python-hcl2 is missing: pip install -e '.[infra]'"
        yield Check("variables", False, f"not checked: {remedy}")
        return
    path = folder / VALUES
    values = parse(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if isinstance(values, int):
        yield Check(VALUES, False, f"{path}:{values}: no valid HCL")
        return
    for variable in read_module(folder).select("variable"):
        [name] = variable.labels
        if "default" in variable.body:
            continue
        is_given = name in values or f"TF_VAR_{name}" in environment
        remedy = f"add {name} = ... to infra/terraform/{folder.name}/{VALUES}"
        yield Check(f"variable {name}", is_given, "" if is_given else remedy)


def main() -> int:
    """Run the command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(
        prog="python -m infra.terraform.preflight", description=summary
    )
    parser.add_argument("cloud", choices=CLOUDS)
    options = parser.parse_args()
    return 0 if show_checks(list_checks(options.cloud, os.environ)) else EXIT_MISSING


if __name__ == "__main__":
    sys.exit(main())
