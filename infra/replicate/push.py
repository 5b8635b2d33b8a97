"""Builds this project with Cog and pushes it to Replicate.

    python -m infra.replicate.push OWNER/MODEL
    python -m infra.replicate.push OWNER/MODEL --model small --streaming
    python -m infra.replicate.push OWNER/MODEL --model packed/small.plain-bfloat16.packed
    python -m infra.replicate.push OWNER/MODEL --dry-run        # lay out and show, run nothing

The page OWNER/MODEL has to exist on Replicate: make it private at replicate.com/create. All
weights but those of demo are licensed CC-BY-NC-4.0.

The token (replicate.com/auth/token) is read from standard input with --token-stdin, or from
REPLICATE_API_TOKEN; with neither, an earlier `cog login` has to have been made. Cog gets it on its
standard input, so it stands in no argument list and in no environment of the build.

Cog builds a copy of the files that the image needs, in a temporary folder: the checkout is not
changed, and what else lies in it does not get into the image.
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

from infra.replicate.openapi_schema import COG_VERSION, PREDICT, ROOT, SCHEMA, rendered
from musicgen import catalog
from musicgen.checkpoints.packed.format import read_header
from musicgen.errors import MusicGenError
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


class PushError(Exception):
    """What the operator has to mend before a push."""


def lay_out(folder: Path, runner: str, model: str | None) -> None:
    """Copies what the image needs into `folder`, which is empty, with a cog.yaml that names the
    runner and the model, which may be a packed file, and the schema of that runner."""
    for name in FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    config = (ROOT / "cog.yaml").read_text(encoding="utf-8")
    config = _replaced(config, r'^run: "predict\.py:\w+"$', f'run: "predict.py:{runner}"')
    if model is not None:
        if model not in catalog.CATALOG:
            # Not a link: Docker does not follow one out of a build's folder.
            shutil.copyfile(model, folder / WEIGHTS)
            model = WEIGHTS
        config = _replaced(config, r"^  - MUSICGEN_MODEL=\S+$", f"  - MUSICGEN_MODEL={model}")
    (folder / "cog.yaml").write_text(config, encoding="utf-8")
    schema = folder / ".cog" / SCHEMA.name
    schema.parent.mkdir()
    schema.write_text(rendered(PREDICT.read_text(encoding="utf-8"), runner), encoding="utf-8")


def check_schema() -> None:
    """Raises: `PushError` when the schema in the checkout is not that of predict.py: then what was
    tested is not what would be shipped."""
    current = rendered(PREDICT.read_text(encoding="utf-8"))
    if not SCHEMA.is_file() or SCHEMA.read_text(encoding="utf-8") != current:
        raise PushError(f"{SCHEMA} is not current: run python -m infra.replicate.openapi_schema")


def find_cog() -> str:
    """The path of Cog's command line. Raises: `PushError`."""
    found = shutil.which("cog")
    if found is None:
        raise PushError(f"there is no `cog` on PATH: {GET_COG}")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if asked.returncode or not asked.stdout.startswith("cog version "):
        raise PushError(f"{found} is not Cog: {GET_COG}")
    version = asked.stdout.split()[2].removeprefix("v")
    if version != COG_VERSION:
        raise PushError(f"{found} is version {version}: {GET_COG}")
    return found


def push(cog: str, folder: Path, image: str, token: str | None) -> int:
    """Logs in and pushes what is laid out in `folder`; the exit status of Cog."""
    environment = {name: value for name, value in os.environ.items() if name != _TOKEN_VARIABLE}
    environment["COG_OPENAPI_SCHEMA"] = str(folder / ".cog" / SCHEMA.name)
    if token:
        login = [cog, "login", "--token-stdin"]
        entered = subprocess.run(login, input=token + "\n", text=True, env=environment, check=False)
        if entered.returncode:
            raise PushError("Cog could not log in: check the token (replicate.com/auth/token)")
    pushed = subprocess.run([cog, "push", image], cwd=folder, env=environment, check=False)
    return pushed.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(description="push this project to Replicate")
    parser.add_argument("name", metavar="OWNER/MODEL", help="a page that exists on Replicate")
    parser.add_argument("--streaming", action="store_true", help="StreamingRunner, not Runner")
    parser.add_argument(
        "--model",
        type=_model,
        help="a name from `musicgen models`, or a packed file to put into the image; else that of "
        "cog.yaml",
    )
    parser.add_argument("--token-stdin", action="store_true", help="read the token from there")
    parser.add_argument("--dry-run", action="store_true", help="run nothing, show what would be")
    options = parser.parse_args(arguments)
    image = f"{REGISTRY}/{options.name}"
    try:
        if not _NAME.fullmatch(options.name):
            raise PushError(f"{options.name!r} is not OWNER/MODEL, in lower case")
        check_schema()
        with TemporaryDirectory(prefix="musicgen-push-") as place:
            # Resolved, because Docker does not follow links out of a build's folder.
            folder = Path(place).resolve()
            lay_out(folder, "StreamingRunner" if options.streaming else "Runner", options.model)
            _note(image, options.model)
            if options.dry_run:
                sys.stdout.write((folder / "cog.yaml").read_text(encoding="utf-8"))
                sys.stdout.write(f"would run: cog push {image}\n")
                return 0
            cog = find_cog()
            given = sys.stdin.readline().strip() if options.token_stdin else ""
            return push(cog, folder, image, given or RemoteTokens.from_env().replicate)
    except PushError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _model(given: str) -> str:
    try:
        if given not in catalog.CATALOG:
            read_header(Path(given))
    except MusicGenError as error:
        names = ", ".join(catalog.CATALOG)
        raise argparse.ArgumentTypeError(f"{error}; or choose one of {names}") from None
    return given


def _note(image: str, model: str | None) -> None:
    licence = catalog.MUSICGEN_LICENCE
    if model is not None:
        entry = catalog.CATALOG.get(model)
        licence = entry.licence if entry else read_header(Path(model))[1].licence
    page = image.partition("/")[2]
    sys.stderr.write(
        f"replicate.com/{page} has to exist: make it private at replicate.com/create.\n"
        f"The licence of the weights is {licence}"
        f"{': no commercial use' if licence == catalog.MUSICGEN_LICENCE else ''}.\n"
    )


def _replaced(config: str, pattern: str, line: str) -> str:
    changed, count = re.subn(pattern, line, config, flags=re.MULTILINE)
    if count != 1:
        raise PushError(f"cog.yaml has {count} lines like {line!r}, not one")
    return changed


if __name__ == "__main__":
    sys.exit(main())
