"""Build this project with Cog and push it to Replicate.

    python -m infra.replicate.push OWNER/MODEL
    python -m infra.replicate.push OWNER/MODEL --model small --streaming
    python -m infra.replicate.push OWNER/MODEL --model packed/small.plain-bfloat16.packed
    python -m infra.replicate.push OWNER/MODEL --dry-run        # lay out and show, run nothing

The page OWNER/MODEL must exist: create it as a private model at replicate.com/create. All weights
except those of demo are licensed CC-BY-NC-4.0.

The token (replicate.com/auth/token) comes from standard input with --token-stdin, or from
REPLICATE_API_TOKEN. Without a token, run `cog login` first. Cog gets the token on its standard
input, never in an argument or an environment variable of the build.

Cog builds from a temporary folder with a copy of the image's files. The checkout stays unchanged,
and its other files do not get into the image. Where the Python of cog.yaml is installed here, the
image gets bytecode: Cog makes none, so every start would compile these modules anew.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.replicate.openapi_schema import COG_VERSION, PREDICT, ROOT, SCHEMA, render
from musicgen import catalog
from musicgen.checkpoints.packed.format import read_header
from musicgen.errors import MusicGenError
from musicgen.errors.counts import format_count
from musicgen.settings import RemoteTokens

REGISTRY = "r8.im"
FILES = ("predict.py", "handlers", "musicgen", "infra/replicate/requirements.txt", "LICENSE")
GET_COG = (
    f"get Cog {COG_VERSION} from https://github.com/replicate/cog/releases/tag/v{COG_VERSION}; "
    "no package index has it (the `cog` of Debian is a browser)"
)
WEIGHTS = "weights.packed"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
_TOKEN_VARIABLE = "REPLICATE_API_TOKEN"
_WITHOUT_BYTECODE = (
    "The Python of cog.yaml is not installed here, so the image gets no bytecode, and each start "
    "compiles this project's modules. Install that Python for faster starts.\n"
)


class PushError(Exception):
    """Obstacle to a push, with the remedy for the operator."""


def lay_out(folder: Path, runner: str, model: str | None) -> None:
    """Copy the image's files into `folder`, an empty one.

    Its cog.yaml names the runner and the model, a name of the catalog or a packed file. Its schema
    is the schema of the runner.
    """
    for name in FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    config = _read_config()
    config = _replace(config, r'^run: "predict\.py:\w+"$', f'run: "predict.py:{runner}"')
    if model is not None:
        if model not in catalog.CATALOG:
            # A copy, because Docker does not follow links out of a build's folder.
            shutil.copyfile(model, folder / WEIGHTS)
            model = WEIGHTS
        config = _replace(config, r"^  - MUSICGEN_MODEL=\S+$", f"  - MUSICGEN_MODEL={model}")
    (folder / "cog.yaml").write_text(config, encoding="utf-8")
    schema = folder / ".cog" / SCHEMA.name
    schema.parent.mkdir()
    schema.write_text(render(PREDICT.read_text(encoding="utf-8"), runner), encoding="utf-8")


def add_bytecode(folder: Path) -> bool:
    """Compile the modules in `folder` for the Python of its cog.yaml; return False without one.

    The bytecode is not compared with its source: a build may change the files' times.

    Raises: `PushError` for a module that does not compile.
    """
    config = (folder / "cog.yaml").read_text(encoding="utf-8")
    found = re.search(r'^  python_version: "([\d.]+)"$', config, flags=re.MULTILINE)
    python = found and _find_python(found[1])
    if not python:
        return False
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run([*command, "predict.py", "handlers", "musicgen"], cwd=folder, check=False)
    if done.returncode:
        raise PushError(
            f"{python} cannot compile the modules named above: mend them, and push again"
        )
    return True


def _find_python(version: str) -> str | None:
    """Return the program of a Python "3.N", None if it is not installed or does not start."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    path = shutil.which(f"python{version}")
    # A launcher such as pyenv's may be there without the version.
    works = path and subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0
    return path if works else None


def check_schema() -> None:
    """Compare the checkout's schema with predict.py, because the tests use the checkout's schema.

    Raises: `PushError` for a difference.
    """
    current = render(PREDICT.read_text(encoding="utf-8"))
    if not SCHEMA.is_file() or SCHEMA.read_text(encoding="utf-8") != current:
        raise PushError(f"{SCHEMA} is out of date: run python -m infra.replicate.openapi_schema")


def find_cog() -> str:
    """Return the path of Cog.

    Raises: `PushError` for a missing program, another program, or another version.
    """
    path = shutil.which("cog")
    if path is None:
        raise PushError(f"`cog` is not installed: {GET_COG}")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.startswith("cog version "):
        raise PushError(f"{path} is another program, not Cog: {GET_COG}")
    version = done.stdout.split()[2].removeprefix("v")
    if version != COG_VERSION:
        raise PushError(f"{path} is version {version} of Cog: {GET_COG}")
    return path


def push(cog: str, folder: Path, image: str, token: str | None) -> int:
    """Log in, push `folder` and return the exit status of Cog."""
    environment = {name: value for name, value in os.environ.items() if name != _TOKEN_VARIABLE}
    environment["COG_OPENAPI_SCHEMA"] = str(folder / ".cog" / SCHEMA.name)
    if token:
        login = [cog, "login", "--token-stdin"]
        done = subprocess.run(login, input=token + "\n", text=True, env=environment, check=False)
        if done.returncode:
            raise PushError("Cog could not log in: check the token (replicate.com/auth/token)")
    return subprocess.run([cog, "push", image], cwd=folder, env=environment).returncode


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.replicate.push", description="Push this project to Replicate."
    )
    parser.add_argument("name", metavar="OWNER/MODEL", help="an existing page on Replicate")
    parser.add_argument(
        "--streaming", action="store_true", help="use StreamingRunner instead of Runner"
    )
    parser.add_argument(
        "--model",
        type=_parse_model,
        help="a name from `musicgen models`, or a packed file for the image (default: the model of "
        "cog.yaml)",
    )
    parser.add_argument(
        "--token-stdin", action="store_true", help="read the token from standard input"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the push without running it")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _build_parser().parse_args(arguments)
    image = f"{REGISTRY}/{options.name}"
    try:
        if not _NAME.fullmatch(options.name):
            raise PushError(
                f"OWNER/MODEL: {options.name!r} is not a name of a model on Replicate. Write the "
                "account and the model in lower case with a slash between them, as in "
                "octocat/musicgen."
            )
        check_schema()
        with TemporaryDirectory(prefix="musicgen-push-") as place:
            # Resolved, because Docker does not follow links out of a build's folder.
            folder = Path(place).resolve()
            lay_out(folder, "StreamingRunner" if options.streaming else "Runner", options.model)
            if not add_bytecode(folder):
                sys.stderr.write(_WITHOUT_BYTECODE)
            _show_note(image, options.model)
            if options.dry_run:
                sys.stdout.write((folder / "cog.yaml").read_text(encoding="utf-8"))
                sys.stdout.write(f"would run: cog push {image}\n")
                return 0
            cog = find_cog()
            token = sys.stdin.readline().strip() if options.token_stdin else ""
            return push(cog, folder, image, token or RemoteTokens.from_env().replicate)
    except PushError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parse_model(model: str) -> str:
    try:
        raw = None if Path(model).exists() else catalog.find_convertible(model)
        if raw is not None:
            raise argparse.ArgumentTypeError(catalog.describe_conversion(raw))
        if model not in catalog.CATALOG:
            read_header(Path(model))
    except MusicGenError as error:
        names = ", ".join(catalog.CATALOG)
        raise argparse.ArgumentTypeError(f"{error}. Or choose one of {names}.") from None
    return model


def _show_note(image: str, model: str | None) -> None:
    licence = catalog.MUSICGEN_LICENCE
    if model is not None:
        entry = catalog.CATALOG.get(model)
        licence = entry.licence if entry else read_header(Path(model))[1].licence
    page = image.partition("/")[2]
    sys.stderr.write(
        f"replicate.com/{page} must exist: create it as private at replicate.com/create.\n"
        f"The licence of the weights is {catalog.describe_licence(licence)}.\n"
    )


def _read_config() -> str:
    return (ROOT / "cog.yaml").read_text(encoding="utf-8")


def _replace(config: str, pattern: str, line: str) -> str:
    changed, count = re.subn(pattern, line, config, flags=re.MULTILINE)
    if count != 1:
        found = format_count(count, "line")
        raise PushError(f"cog.yaml has {found} like {line!r}. It needs exactly one.")
    return changed


if __name__ == "__main__":
    sys.exit(main())
