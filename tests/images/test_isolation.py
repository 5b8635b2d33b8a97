"""The boundaries of the containers, seen from inside."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from infra.images.composition import Composition

LOOK = """
import json, os, socket, pathlib
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
def refused(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        return True
    return False
def reaches(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True
print(json.dumps({
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "first": open("/proc/1/cmdline").read().split(chr(0))[:5],
    "host": socket.gethostname(),
    "uid": os.getuid(),
    "capabilities": int(status["CapBnd"], 16) | int(status["CapEff"], 16),
    "new_privileges": status["NoNewPrivs"].strip(),
    "root": refused("/x"), "code": refused("/opt/venv/x"), "tmp": refused("/tmp/x"),
    "data": refused("/data/x"),
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "database": reaches("database", 5432), "bucket": reaches("bucket", 8333),
    "outside": reaches("192.0.2.1", 443),
}))
"""


def test_a_stranger_outside_reads_no_figures(up: Composition) -> None:
    """The published port leads to the whole API; the metrics have a port inside the network."""
    up.wait_until_healthy()
    assert httpx.get(f"{up.api}/metrics").status_code == 404
    assert httpx.get(f"{up.api}/readyz").json() == {"status": "ok"}
    inside = httpx.get(f"http://{up.addresses['api']}:9464/metrics")
    assert "musicgen_database_up 1.0" in inside.text


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_service_is_alone_in_its_container(up: Composition, name: str) -> None:
    up.wait_until_healthy()
    done = up.containers[name].execute("python", "-c", LOOK)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["first"] == ["python", "-m", "handlers.cli", "serve", name]
    assert found["processes"][0] == 1 and len(found["processes"]) < 10
    assert found["host"] == up.containers[name].id
    assert found["uid"] == 10001
    assert found["capabilities"] == 0 and found["new_privileges"] == "1"
    assert found["root"] and found["code"]
    assert not found["tmp"] and not found["data"]
    assert found["interfaces"] == ["eth0", "lo"]
    assert found["database"] and found["bucket"] and not found["outside"]
