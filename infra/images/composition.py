"""Run the compose file's services in containers by the rules of Docker Compose."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from infra.compose.compose_file import FILE, services
from infra.images.build import Image
from infra.images.container import Container, find_user, parse_bytes
from infra.images.network import Network, PublishedPort
from infra.images.places import ImageError
from infra.images.volumes import Volumes

POLL_SECONDS, HEALTHY_SECONDS = 0.05, 120.0
GRACE_SECONDS = 10.0
"""Docker's `stop_grace_period`."""
_FIRST_DELAY, _LAST_DELAY, _LONG_RUN = 0.1, 60.0, 10.0
"""Docker's seconds before a restart, doubled until a run of `_LONG_RUN` seconds."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration such as `1m30s`."""
    parts = re.findall(r"(\d+)([smh])", text)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


@dataclass
class Composition:
    """Context manager of all services: `with Composition(images, variables, folder) as up`.

    `images` maps names to images; the variables `*_IMAGE` name them. Every service is started after
    its dependencies are healthy, and restarted after a crash. Volumes lie below `folder`, which
    every user must be able to enter.
    """

    images: Mapping[str, Image]
    variables: Mapping[str, str]
    folder: Path
    files: tuple[Path, ...] = (FILE,)
    profiles: Collection[str] = ()
    containers: dict[str, Container] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """Address of each service in the containers' network, which this machine reaches."""

    def __post_init__(self) -> None:
        self._key = f"mg{secrets.token_hex(3)}"
        self._definitions = services(self.variables, *self.files, profiles=self.profiles)
        self._volumes = Volumes(self.folder / "volumes", FILE.parent)
        self._published: list[PublishedPort] = []
        self._stopped: set[str] = set()
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._cleanup = contextlib.ExitStack()

    def data_folder(self, volume: str) -> Path:
        """Return the folder of a named volume on this machine."""
        return self._volumes.folder / volume

    @property
    def api(self) -> str:
        """Base URL of the job API, outside the containers' network."""
        return f"http://127.0.0.1:{self.ports['api']}"

    def __enter__(self) -> Composition:
        with contextlib.ExitStack() as stack:
            network = stack.enter_context(Network(self._key))
            for name in self._definitions:
                self.addresses[name] = network.attach(name)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "hosts").write_text(network.hosts_file())
            (self.folder / "resolv.conf").write_text("")
            stack.callback(self._remove_all)
            for name, definition in self._definitions.items():
                self.containers[name] = self._container(name, definition, network)
            self._watcher.start()
            for name, definition in self._definitions.items():
                for need in definition.get("depends_on", ()):
                    self.wait_until_healthy(need)
                self.containers[name].start()
                self._publish(name, definition, network)
            self.wait_until_healthy()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def wait_until_healthy(self, *names: str, seconds: float = HEALTHY_SECONDS) -> None:
        """Wait for the named services, or for all. Raises: `ImageError` after `seconds`."""
        end = time.monotonic() + seconds
        for name in names or self.containers:
            container = self.containers[name]
            if not container.test:
                continue
            while not container.is_healthy():
                if time.monotonic() > end:
                    raise ImageError(f"{name} is not healthy:\n{container.log.read_text()[-3000:]}")
                time.sleep(POLL_SECONDS)

    def restart(self, name: str) -> None:
        """Stop and start a service, as `docker compose restart` does."""
        self.stop(name)
        self.containers[name].start()
        self._stopped.discard(name)

    def stop(self, name: str) -> None:
        """Stop a service within its grace period; it stays stopped."""
        self._stopped.add(name)
        grace = self._definitions[name].get("stop_grace_period")
        self.containers[name].stop(parse_seconds(grace) if grace else GRACE_SECONDS)

    def lose(self, name: str) -> None:
        """Kill a service as a lost machine does: nobody starts it again."""
        self._stopped.add(name)
        self.containers[name].kill()

    def recreate(self, name: str) -> None:
        """Stop a service and start a new container with new anonymous volumes."""
        self.stop(name)
        self._volumes.drop_anonymous(name)
        self.containers[name].start()
        self._stopped.discard(name)

    @contextlib.contextmanager
    def run(self, name: str, *command: str) -> Iterator[Container]:
        """Run a command in a new container of a stopped service, as `docker compose run` does."""
        service = self.containers[name]
        bundle = service.bundle.with_name(f"{name}-run")
        container = replace(
            service,
            id=f"{service.id}-run",
            bundle=bundle,
            command=command,
            restarts=False,
            starts=0,
            process=None,
        )
        container.start()
        try:
            yield container
        finally:
            container.remove()

    def _watch(self) -> None:
        """Restart the services with `restart: unless-stopped` after a crash."""
        delays: dict[str, float] = {}
        started: dict[str, float] = {}
        while not self._end.wait(POLL_SECONDS):
            for name, container in list(self.containers.items()):
                if not container.starts or container.is_running() or name in self._stopped:
                    continue
                if not container.restarts:
                    continue
                has_run = time.monotonic() - started.get(name, 0.0)
                delay = _FIRST_DELAY if has_run > _LONG_RUN else delays.get(name, _FIRST_DELAY)
                delays[name] = min(2 * delay, _LAST_DELAY)
                if self._end.wait(delay) or name in self._stopped:
                    continue
                started[name] = time.monotonic()
                container.start()

    def _remove_all(self) -> None:
        self._end.set()
        self._watcher.join(10)
        for port in self._published:
            port.close()
        for container in reversed(self.containers.values()):
            container.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _publish(self, name: str, definition: Mapping[str, Any], network: Network) -> None:
        for text in definition.get("ports", ()):
            host, outside, inside = text.rsplit(":", 2)
            target = (network.addresses[name], int(inside))
            published = PublishedPort(host, int(outside), target)
            self._published.append(published)
            self.ports[name] = published.port

    def _container(self, name: str, definition: Mapping[str, Any], network: Network) -> Container:
        image = self.images[definition["image"]]
        config = image.config
        entry = definition.get("entrypoint") or config.get("Entrypoint") or []
        # An entry point of the file makes Compose ignore the image's command.
        default = [] if definition.get("entrypoint") else config.get("Cmd") or []
        command = definition.get("command") or default
        user, home = find_user(image.root, str(definition.get("user") or config.get("User") or ""))
        environment = dict(pair.split("=", 1) for pair in config.get("Env") or ())
        environment.setdefault("HOME", home)
        given = definition.get("environment", {})
        environment |= {key: str(value) for key, value in given.items()}
        limits = definition.get("deploy", {}).get("resources", {}).get("limits", {})
        memory = definition.get("mem_limit") or limits.get("memory")
        test = definition.get("healthcheck", {}).get("test") or []
        return Container(
            id=f"{self._key}-{name}",
            image=image,
            bundle=self.folder / name,
            command=[str(part) for part in (*entry, *command)],
            environment=environment,
            user=user,
            mounts=[
                *_mount_files(self.folder),
                *self._volumes.mount_all(name, image, definition),
            ],
            network=network.path(name),
            read_only=bool(definition.get("read_only")),
            memory=parse_bytes(str(memory)) if memory else None,
            test=[str(part) for part in test[1:]],
            restarts=definition.get("restart") == "unless-stopped",
            stop_signal=config.get("StopSignal") or "SIGTERM",
        )


def _mount_files(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": str(folder / name),
            "options": ["bind", "ro"],
        }
        for name in ("hosts", "resolv.conf")
    ]
