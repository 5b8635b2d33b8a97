"""Settings and options of the server to check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from musicgen.settings import ApiSettings, Settings

Part = Literal["all", "api", "worker", "relay"]
PARTS: tuple[Part, ...] = ("all", "api", "worker", "relay")


@dataclass(frozen=True)
class ServerPlan:
    """Server to check: its part, its settings and its options.

    `host`, `port`: address of the API. `workers`: number of workers of the part `all`.
    `is_supervised`: a child of `all`, which holds the API's port.
    """

    part: Part
    settings: Settings
    api: ApiSettings
    host: str
    port: int
    workers: int = 1
    is_supervised: bool = False

    @property
    def has_api(self) -> bool:
        """Whether an API runs."""
        return self.part in ("all", "api")

    @property
    def generates(self) -> bool:
        """Whether a model is loaded."""
        is_local = self.settings.remote.policy != "remote"
        return self.part == "worker" or (self.part == "all" and is_local and self.workers > 0)

    @property
    def relays(self) -> bool:
        """Whether jobs are sent to a remote deployment."""
        return self.part == "relay" or (
            self.part == "all" and self.settings.remote.policy != "local"
        )

    @property
    def metrics_ports(self) -> list[int]:
        """Metrics ports of the API, the workers and the relay; each has its own."""
        first = self.api.metrics_port
        if first is None:
            return []
        count = 1 + self.workers * self.generates + self.relays if self.part == "all" else 1
        return [first + number for number in range(count)]
