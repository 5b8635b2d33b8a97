"""Stand-in for the base image python:3.X-slim-bookworm, for machines without a registry.

It is Debian's smallest system with this machine's Python in /usr/local, and, like the real one,
without a compiler.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from infra.images.places import CACHE, ImageError, run

SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = (
    *("ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5"),
    *("libncursesw6", "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
)
_DEAD_WEIGHT = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt"),
    *("var/lib/apt/lists", "var/log", "var/cache/debconf"),
)
_KEPT_PACKAGES = (
    "pip",
    "setuptools",
    "pkg_resources",
    "_distutils_hack",
    "distutils-precedence.pth",
)


def make_base() -> Path:
    """Return a tarball of the root, made at the first call."""
    prefix = Path(sys.base_prefix)
    if prefix in (Path("/"), Path("/usr")):
        raise ImageError(
            f"Python has the prefix {prefix}. The stand-in base needs a Python with its own "
            "prefix, such as one of pyenv or uv."
        )
    recipe = f"{SUITE} {PACKAGES} {sys.version} {Path(__file__).read_text()}"
    tarball = CACHE / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    if tarball.is_file():
        return tarball
    CACHE.mkdir(parents=True, exist_ok=True)
    root = CACHE / "base"
    shutil.rmtree(root, ignore_errors=True)
    debs = CACHE / "debs"
    debs.mkdir(exist_ok=True)
    include = f"--include={','.join(PACKAGES)}"
    run("debootstrap", "--variant=minbase", f"--cache-dir={debs}", include, SUITE, root, MIRROR)
    for name in _DEAD_WEIGHT:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log/apt"):
        (root / name).mkdir(parents=True)
    _write_sources(root)
    _copy_python(prefix, root / "usr/local")
    run("chroot", root, "ldconfig")
    partial = tarball.with_suffix(".partial")
    run("tar", "--create", "--file", partial, "--directory", root, ".")
    shutil.rmtree(root)
    for old in CACHE.glob("base-*.tar"):
        old.unlink()
    partial.rename(tarball)
    return tarball


def _write_sources(root: Path) -> None:
    """Write Debian's three suites, as the real image has them."""
    (root / "etc/apt/sources.list").write_text(
        f"deb {MIRROR} {SUITE} main\n"
        f"deb {MIRROR} {SUITE}-updates main\n"
        f"deb {MIRROR}-security {SUITE}-security main\n"
    )


def _copy_python(prefix: Path, target: Path) -> None:
    """Copy the interpreter and its library, without tests and without installed packages."""
    version = f"python3.{sys.version_info.minor}"

    def skip(folder: str, names: list[str]) -> set[str]:
        place = Path(folder)
        if place.name == "site-packages":
            kept = {
                n for n in names if n in _KEPT_PACKAGES or n.startswith(("pip-", "setuptools-"))
            }
            return set(names) - kept
        skipped = {"__pycache__", "idlelib", "turtledemo"}
        if place == prefix / "lib" / version:
            skipped |= {"test", f"config-3.{sys.version_info.minor}-x86_64-linux-gnu"}
        return skipped & set(names)

    for part in (f"lib/{version}", f"include/{version}"):
        shutil.copytree(prefix / part, target / part, ignore=skip, symlinks=True)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
        # The symbols of a library from source weigh more than its code.
        if not library.is_symlink() and shutil.which("strip"):
            run("strip", "--strip-unneeded", target / "lib" / library.name)
    shutil.copy2(prefix / "bin" / version, target / "bin")
    for name in ("python", "python3"):
        (target / "bin" / name).symlink_to(version)
    (target / "bin/pip").write_text(
        "#!/usr/local/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\n"
        "sys.exit(main())\n"
    )
    (target / "bin/pip").chmod(0o755)
    for module in target.glob(f"lib/{version}/_sysconfigdata*.py"):
        module.write_text(module.read_text().replace(str(prefix), "/usr/local"))
