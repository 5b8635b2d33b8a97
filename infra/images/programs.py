"""One command in a new container of an image, without a network."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

from infra.images.build import Image
from infra.images.container import Container, find_user
from infra.images.network import Network
from infra.images.volumes import Volumes

SECONDS = 300.0


@contextlib.contextmanager
def start_program(
    image: Image,
    *command: str,
    environment: Mapping[str, str] | None = None,
    volumes: Sequence[str] = (),
) -> Iterator[Container]:
    """Start a command, or the image's own, with a read-only root and a temporary folder.

    The volumes of the image are new ones. `volumes`: mounts of the host as in a compose file,
    such as `/FOLDER:/PLACE:ro`. The container and its files are removed on leaving the context.
    """
    key = f"mg{secrets.token_hex(3)}"
    folder = Path(mkdtemp(prefix="musicgen-program-", dir="/var/tmp"))
    folder.chmod(0o755)
    user, home = find_user(image.root, image.config.get("User") or "")
    own = dict(pair.split("=", 1) for pair in image.config.get("Env") or ())
    default = [*(image.config.get("Entrypoint") or ()), *(image.config.get("Cmd") or ())]
    definition = {"tmpfs": ["/tmp"], "volumes": volumes}
    try:
        with Network(key) as network:
            network.attach("program")
            container = Container(
                id=f"{key}-program",
                image=image,
                bundle=folder / "program",
                command=command or default,
                environment={"HOME": home, **own, **(environment or {})},
                user=user,
                mounts=Volumes(folder, folder).mount_all("program", image, definition),
                network=network.path("program"),
                read_only=True,
                memory=None,
                test=(),
                restarts=False,
                stop_signal="SIGTERM",
            )
            container.start()
            try:
                yield container
            finally:
                container.remove()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_program(
    image: Image,
    *command: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command as `start_program` does, to its end.

    Returns the exit status with all output in `stdout`. Raises: `ImageError` after `seconds`.
    """
    with start_program(image, *command, environment=environment) as container:
        container.wait(seconds)
        assert container.process is not None, "the container was started"
        status = int(container.process.returncode)
        output = container.log.read_text(errors="replace")
    return subprocess.CompletedProcess(command, status, output)
