"""Prometheus metrics of the file systems used by a process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class DiskCollector(Collector):
    """Collector of the free and total bytes below each of `folders`, by its name."""

    def __init__(self, folders: Mapping[str, Path], registry: CollectorRegistry) -> None:
        self._folders = folders
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the two families; a folder that cannot be read is left out."""
        free = GaugeMetricFamily(
            "musicgen_disk_free_bytes", "Free bytes of the folder's file system", labels=["folder"]
        )
        total = GaugeMetricFamily(
            "musicgen_disk_bytes", "Size of the folder's file system in bytes", labels=["folder"]
        )
        for name, folder in self._folders.items():
            try:
                usage = shutil.disk_usage(_find_existing(folder))
            except OSError:
                continue
            free.add_metric([name], usage.free)
            total.add_metric([name], usage.total)
        return [free, total]


def _find_existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent if it has not been created yet."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())
