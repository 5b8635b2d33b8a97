"""Remove unused files from site-packages, and test the rest by making a clip.

For the last step of an image:

    python -m infra.coldstart.diet --site-packages /usr/lib/python3/site-packages --dry-run
    python -m infra.coldstart.diet            # of this interpreter

Smaller images are pulled faster. Removed are tests, type stubs, documentation, pip and setuptools,
boto3's descriptions of unused services, and torch's C++ headers, static libraries and command line
programs, except one program required by `import torch`. Afterwards no extension can be compiled
against this torch, and torch.compile does not work on processors. `--strip` also removes the
symbols of torch's libraries, if `strip` is installed.

The remaining modules are compiled to bytecode. A container with a read-only disk or with
PYTHONDONTWRITEBYTECODE would compile every module again at each start, and that takes twice as long
as the imports. At the end a new interpreter makes clips: with torch of the demo in every precision,
with `--model` of a packed file. With `--import` it only imports a module. If it fails, the exit
status is 1 and the image must not be used. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.coldstart.results import add_save, write_result

RULES: dict[str, tuple[str, ...]] = {
    "tests": (
        "torch/test",
        "*/tests",
        "*/*/tests",
        "*/*/*/tests",
        "sympy/**/tests",
    ),
    "headers and static libraries": ("torch/include", "torch/share", "torch/lib/*.a"),
    "programs of torch": ("torch/bin",),
    "type stubs": ("torch/**/*.pyi", "numpy/**/*.pyi", "av/**/*.pyi"),
    "documentation": ("*/docs", "*/doc", "*/examples"),
    "installers": (
        *("pip", "pip-*.dist-info", "setuptools", "setuptools-*.dist-info", "pkg_resources"),
        *("_distutils_hack", "distutils-precedence.pth", "numpy/distutils", "numpy/f2py"),
    ),
    "services of boto3": ("botocore/data/*/20*", "boto3/data/*/20*"),
}
"""Removed paths below site-packages, by rule."""
_SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin")
KEPT = (
    *("torch/bin/torch_shm_manager", "numpy/_core/tests/_natype.py"),
    *(f"{package}/data/{name}" for package in ("botocore", "boto3") for name in _SERVICES),
    *("botocore/docs", "boto3/docs"),
)
"""Exceptions to the rules: `import torch` fails without the first, `import numpy.testing` without
the second, and a client of boto3 without the last, which are code. The services are the bucket's,
and those with credentials for it."""
CONNECT = """
from importlib.util import find_spec
if find_spec("boto3"):
    import boto3
    for name in ("s3", "sts"):
        boto3.client(name, "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
"""
"""Makes clients of a bucket, without a connection."""
GENERATE = """
from pathlib import Path
import sys
folder, site, model = sys.argv[1:]
if model:
    import numpy as package
else:
    import torch as package
assert Path(package.__file__).is_relative_to(site), package.__file__
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
for precision in ["auto"] if model else ["int8", "bfloat16", "float32"]:
    settings = Settings(data_dir=Path(folder), model=model or "demo", precision=precision)
    predictor = Predictor.load(settings)
    for form in ("wav", "mp3"):
        request = GenerationRequest(prompt="piano", duration=0.5, output_format=form)
        result = predictor.generate(request)
        assert result.clips[0].bytes > 1000
"""


def find_matches(site: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the paths of the patterns, without `KEPT` and without paths inside other ones."""
    kept = {site / name for name in KEPT}
    matches: list[Path] = []
    for path in sorted({p for pattern in patterns for p in site.glob(pattern)}):
        if path in kept or any(p in matches or p in kept for p in path.parents):
            continue
        if any(path in exception.parents for exception in kept):
            matches += [child for child in sorted(path.iterdir()) if child not in kept]
        else:
            matches.append(path)
    return matches


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.lstat().st_size for file in files)


def prune(site: Path, *, dry_run: bool = False) -> dict[str, int]:
    """Remove the files of all rules, and return their bytes by rule."""
    removed = {}
    for rule, patterns in RULES.items():
        paths = find_matches(site, patterns)
        removed[rule] = sum(map(size_of, paths))
        for path in paths if not dry_run else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return removed


def strip(site: Path) -> int:
    """Strip the symbols of torch's libraries, and return the bytes saved.

    Other packages are left alone: wheels may have patched libraries, and `strip` broke numpy's.
    """
    program = shutil.which("strip")
    if program is None:
        return 0
    folder = site / "torch" / "lib"
    before = size_of(folder)
    for library in folder.glob("*.so*"):
        if library.is_file() and not library.is_symlink():
            subprocess.run([program, "--strip-unneeded", str(library)], capture_output=True)
    return before - size_of(folder)


def compile_all(site: Path) -> int:
    """Compile all modules, and return the number of modules still without bytecode."""
    compileall.compile_dir(site, quiet=2, workers=0, legacy=False)
    return len(without_bytecode(site))


def without_bytecode(site: Path) -> list[Path]:
    """Return the modules of the hot path's packages without bytecode.

    torch's test modules are left out: some are for another version of Python.
    """
    packages = ("torch", "numpy", "tokenizers", "safetensors", "soundfile.py", "musicgen")
    modules = (
        module
        for name in packages
        for module in ([site / name] if name.endswith(".py") else (site / name).rglob("*.py"))
        if module.is_file() and "testing" not in module.parts
    )
    tag = sys.implementation.cache_tag
    return [m for m in modules if not (m.parent / "__pycache__" / f"{m.stem}.{tag}.pyc").is_file()]


def generates(site: Path, model: str = "") -> bool:
    """Tell whether a new interpreter with these packages makes clips.

    They are of the packed file `model`, or else of the demo in every precision.
    """
    # A packed file needs the installed package: a checkout, which comes first, has no library.
    cwd = Path("/") if model else Path.cwd()
    paths = [str(site)] if model else [str(site), str(cwd)]
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-S", "-c", CONNECT + GENERATE, folder, str(site), model],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            cwd=cwd,
            capture_output=True,
            text=True,
        )
    sys.stderr.write(done.stderr if done.returncode else "")
    return done.returncode == 0


def imports(site: Path, module: str) -> bool:
    """Tell whether a new interpreter with these packages imports `module` from them."""
    code = (
        "import importlib, sys; found = importlib.import_module(sys.argv[1]).__file__; "
        f"assert found.startswith(sys.argv[2]), found\n{CONNECT}"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, module, str(site)],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd="/",  # not a checkout, whose modules would come first
    )
    return done.returncode == 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.coldstart.diet", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--site-packages",
        type=Path,
        default=Path(sysconfig.get_path("purelib")),
        help="(default: this interpreter's)",
    )
    parser.add_argument(
        "--strip", action="store_true", help="also strip the symbols of torch's libraries"
    )
    parser.add_argument(
        "--import",
        dest="module",
        metavar="MODULE",
        help="import this module as the test, instead of making a clip",
    )
    parser.add_argument("--model", default="", help="make the clips with this packed file")
    parser.add_argument("--dry-run", action="store_true", help="show the sizes, remove nothing")
    add_save(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _build_parser().parse_args(arguments)
    site: Path = options.site_packages
    before = size_of(site)
    removed = prune(site, dry_run=options.dry_run)
    result: dict[str, Any] = {"name": "image-diet", "dry_run": options.dry_run}
    if not options.dry_run:
        if options.strip:
            removed["symbols"] = strip(site)
        result["modules_without_bytecode"] = compile_all(site)
        place = site.resolve()
        name = "imports" if options.module else "generates"
        result[name] = (
            imports(place, options.module) if options.module else generates(place, options.model)
        )
    for rule, size in removed.items():
        sys.stdout.write(f"{size / 1e6:8.1f} MB  {rule}\n")
    result |= {"mb_before": before / 1e6, "mb_after": size_of(site) / 1e6}
    result["mb_by_rule"] = {rule: size / 1e6 for rule, size in removed.items()}
    write_result(result, options)
    return 0 if result.get("generates", True) and result.get("imports", True) else 1


if __name__ == "__main__":
    sys.exit(main())
