"""Compile the requirement files of the images: `python -m infra.lock`.

uv resolves each file for every supported Python and writes one version of each package, with the
hashes of its files. An existing version stays unless it no longer fits. Options:

    --upgrade              take the newest versions
    --upgrade-package X    take the newest version of X

It is a command of its own, because it asks the package index.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.lock.files import (
    CPU_TORCH,
    CUDA_TORCH,
    FILES,
    ROOT,
    LockFile,
    is_cuda,
    normalize,
    read_inputs,
    read_locked,
)
from musicgen.errors.counts import format_count

HEADER = "# Written by `python -m infra.lock` from pyproject.toml."


def compile_file(file: LockFile, uv: str, options: list[str]) -> str:
    """Return the text of a requirement file. Raises: `subprocess.CalledProcessError`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        source.write_text("".join(f"{each}\n" for each in read_inputs(file)), encoding="utf-8")
        known = ROOT / file.path
        # uv keeps the versions of an existing output.
        if known.exists() and known.read_text(encoding="utf-8").startswith(HEADER):
            shutil.copyfile(known, target)
        flags = ["--generate-hashes"] if file.has_hashes else []
        subprocess.run(
            [
                *(uv, "pip", "compile", "--quiet", str(source), "--output-file", str(target)),
                *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
                *(*flags, *file.options, *options),
            ],
            check=True,
            cwd=ROOT,
        )
        text = target.read_text(encoding="utf-8")
        if file.ranges:
            text = _restore_ranges(file, target)
    return f"{HEADER}\n# {file.note}\n{text}"


def _restore_ranges(file: LockFile, target: Path) -> str:
    """Return only direct requirements, those of `ranges` as in pyproject.toml."""
    inputs = {normalize(each.name): each for each in read_inputs(file)}
    lines = []
    for locked, _ in read_locked(target):
        name = normalize(locked.name)
        if name in inputs:
            lines.append(str(inputs[name] if name in file.ranges else locked))
    return "".join(f"{line}\n" for line in lines)


def render_cpu_torch() -> str:
    """Return the requirement file of torch for processors, from the one with CUDA.

    PyTorch's own index has this build, under the same version with `+cpu`.
    """
    lines = []
    for locked, _ in read_locked(ROOT / CUDA_TORCH):
        if locked.name == "torch":
            lines.append(f"{locked}+cpu")
        elif not is_cuda(locked.name):
            lines.append(str(locked))
    note = (
        "# torch for processors, from https://download.pytorch.org/whl/cpu. This index builds its\n"
        "# own files, so there are no hashes."
    )
    return "\n".join([HEADER, note, *lines, ""])


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--upgrade-package", action="append", default=[], metavar="NAME")
    options = parser.parse_args(arguments)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        sys.stderr.write("uv is not installed. Run pip install -e '.[infra]'.\n")
        return 1
    flags = ["--upgrade"] if options.upgrade else []
    flags += [f"--upgrade-package={name}" for name in options.upgrade_package]
    for file in FILES:
        text = compile_file(file, uv, flags)
        (ROOT / file.path).write_text(text, encoding="utf-8")
        packages = format_count(sum(1 for _ in read_locked(ROOT / file.path)), "package")
        sys.stdout.write(f"{file.path}: {packages}\n")
    (ROOT / CPU_TORCH).write_text(render_cpu_torch(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
