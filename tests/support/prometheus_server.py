"""A real Prometheus with the shipped configuration and rules, and quicker clocks."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support import ROOT
from tests.support.job_server import free_port, stop

MONITORING = ROOT / "infra/monitoring"
START_SECONDS = 60
_DURATION = re.compile(r"(?<=\[)(\d+)m(?=\])")
_SECONDS = {"> 120": 120, "> 180": 180, "< 900": 900}
"""Comparisons with a time in seconds, which is as much shorter as the windows are."""


def scale_rules(text: str, factor: int) -> dict[str, Any]:
    """Return the rules with every window, pause and time shorter by `factor`."""
    rules: dict[str, Any] = yaml.safe_load(text)
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = _DURATION.sub(
                lambda match: f"{int(match[1]) * 60 // factor}s", rule["expr"]
            )
            for words, seconds in _SECONDS.items():
                rule["expr"] = rule["expr"].replace(words, f"{words[:2]}{seconds / factor:g}")
            if "for" in rule:
                rule["for"] = f"{_read_seconds(rule['for']) // factor}s"
    return rules


def _read_seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


@contextmanager
def prometheus_server(
    folder: Path, targets: Mapping[str, str], factor: int = 1
) -> Iterator[httpx.Client]:
    """Start Prometheus on `targets` by job, scraping every two seconds; yield a client of it.

    A scrape may take as long as this interval, and one of an API without its database takes 1.5 s.
    """
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = scale_rules((MONITORING / "rules.yml").read_text(), factor)
    (folder / "rules.yml").write_text(yaml.safe_dump(rules, width=1000))
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}"),
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            wait_for(lambda: http.get("/-/ready").status_code == 200, START_SECONDS)
            yield http
    finally:
        stop(process)


def wait_for(is_so: Callable[[], bool], seconds: float, what: str = "") -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, what
        time.sleep(0.5)


def read_values(http: httpx.Client, expression: str) -> list[float]:
    answer = http.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, answer.text
    found = [float(series["value"][1]) for series in answer.json()["data"]["result"]]
    return [value for value in found if value == value]  # NaN is no data


def is_firing(http: httpx.Client, alert: str) -> bool:
    return bool(read_values(http, f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))
