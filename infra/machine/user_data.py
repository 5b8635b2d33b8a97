"""User data of cloud-init: an Ubuntu machine with a GPU, infra/compose and a TLS proxy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.check.tools import ROOT
from musicgen.errors.counts import format_count

FOLDER = "/opt/musicgen"
LIMIT = 16_384
"""Bytes: AWS takes no more, Google and Azure take more."""
FILES = {
    "infra/compose/compose.yaml": "0644",
    "infra/compose/prometheus.yml": "0644",
    "infra/monitoring/rules.yml": "0644",
}
IMAGES = ("API_IMAGE", "WORKER_IMAGE", "POSTGRES_IMAGE", "SEAWEEDFS_IMAGE", "PROMETHEUS_IMAGE")
TOOLKIT = "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /"
# The fingerprint of NVIDIA's public key.
TOOLKIT_KEY = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"  # pragma: allowlist secret
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}")
_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}")


class BadValue(ValueError):
    """A value that may not go into the user data."""


def render_user_data(host: str, images: Mapping[str, str]) -> str:
    """Return the user data. Raises: `BadValue`."""
    import yaml

    if not _HOST.fullmatch(host):
        raise BadValue(f"host: {host!r} is no host name such as music.example.com.")
    if missing := [name for name in IMAGES if not images.get(name)]:
        raise BadValue(
            f"images: {', '.join(missing)} missing. infra/compose/.env.example has them."
        )
    for name in IMAGES:
        if not _IMAGE.fullmatch(images[name]):
            raise BadValue(
                f"{name}: {images[name]!r} has no digest. The form is HOST/NAME@sha256:DIGEST."
            )
    content = build_user_data(host, images)
    text: str = "#cloud-config\n" + yaml.safe_dump(content, sort_keys=False, width=100_000)
    if (size := len(text.encode())) > LIMIT:
        raise BadValue(f"user data: {format_count(size, 'byte')}. A machine takes {LIMIT}.")
    return text


def build_user_data(host: str, images: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of the user data."""
    settings = "".join(f"{name}={images[name]}\n" for name in IMAGES)
    texts = {path: (_read(path), mode) for path, mode in FILES.items()}
    texts["images.env"] = (settings, "0600")
    texts["start.sh"] = ((Path(__file__).parent / "start.sh").read_text("utf-8"), "0755")
    proxy = f"{host} {{\n\treverse_proxy 127.0.0.1:8000 {{\n\t\tflush_interval -1\n\t}}\n}}\n"
    files: list[dict[str, Any]] = [
        {"path": f"{FOLDER}/{path}", "permissions": mode, **_pack(text)}
        for path, (text, mode) in texts.items()
    ]
    # `defer`: after the installation of caddy, which brings a file of its own there.
    files.append({"path": "/etc/caddy/Caddyfile", "content": proxy, "defer": True})
    return {
        "package_update": True,
        "package_upgrade": True,
        "apt": {
            "sources": {
                "nvidia-container-toolkit.list": {
                    "source": f"deb [signed-by=$KEY_FILE] {TOOLKIT}",
                    "keyid": TOOLKIT_KEY,
                }
            }
        },
        "packages": [
            *("docker.io", "docker-compose-v2", "nvidia-container-toolkit", "caddy"),
            *("unattended-upgrades", "ubuntu-drivers-common"),
        ],
        "drivers": {"nvidia": {"license-accepted": True}},
        "write_files": files,
        "runcmd": [[f"{FOLDER}/start.sh"]],
    }


def _pack(text: str) -> dict[str, str]:
    """Return a file's fields: packed, because the machine takes few bytes."""
    import base64
    import gzip

    if len(text) < 2000:
        return {"content": text}
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return {"encoding": "gz+b64", "content": packed}


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")
