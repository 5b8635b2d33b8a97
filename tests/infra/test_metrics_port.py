"""The port of a process's metrics is one number in every file, and not Prometheus' own."""

from __future__ import annotations

import re

from tests.support import ROOT

PROMETHEUS = 9090
PLACES = {
    "infra/docker/worker.Dockerfile": r"(?:METRICS_PORT=|EXPOSE |127\.0\.0\.1:)(\d+)",
    "infra/docker/processor.Dockerfile": r"(?:METRICS_PORT=|EXPOSE |127\.0\.0\.1:)(\d+)",
    "infra/compose/compose.yaml": r'MUSICGEN_METRICS_PORT: "(\d+)"|127\.0\.0\.1:(\d+)/readyz',
    "infra/compose/prometheus.yml": r'"(?:api|worker):(\d+)"',
    "infra/compose/stack.py": r'"worker": (\d+)',
    "infra/k8s/base/worker.yaml": r'port: "(\d+)"|containerPort: (\d+)|value: "(\d{4})"',
    "infra/k8s/components/relay/relay.yaml": r'port: "(\d+)"|containerPort: (\d+)|value: "(\d{4})"',
    "infra/k8s/base/api.yaml": r'port: "(\d+)"|containerPort: (9\d+)|value: "(\d{4})"',
    # The API; the first worker of `serve all` takes the next port.
    "infra/monitoring/prometheus.yml": r"127\.0\.0\.1:(?!9465)(\d+)",
}


def test_a_worker_and_prometheus_fit_on_one_machine() -> None:
    """Prometheus on the worker's machine found its own port taken, or scraped itself."""
    ports = {
        int(number)
        for name, pattern in PLACES.items()
        for found in re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"))
        for number in ([found] if isinstance(found, str) else found)
        if number and int(number) != 8000
    }
    assert len(ports) == 1
    assert PROMETHEUS not in ports


def test_every_place_is_read() -> None:
    for name, pattern in PLACES.items():
        assert re.search(pattern, (ROOT / name).read_text(encoding="utf-8")), name
