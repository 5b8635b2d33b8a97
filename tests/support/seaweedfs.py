"""A real S3 server on loopback: SeaweedFS checks signatures, expiry and permissions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config

WEED = Path(sys.executable).parent / "weed"
START_DEADLINE = 60.0
BUCKET = "music-out"
APP = ("appkey", "app-secret-123")
ADMIN = ("adminkey", "admin-secret-123")
IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": ADMIN[0], "secretKey": ADMIN[1]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "app",
            "credentials": [{"accessKey": APP[0], "secretKey": APP[1]}],
            "actions": [f"{verb}:{BUCKET}" for verb in ("Read", "Write", "List", "Tagging")],
        },
    ]
}


@dataclass
class SeaweedFS:
    """The server's folder and ports; it may be stopped and started again with what it holds."""

    folder: Path
    ports: tuple[int, int, int, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    def client(self, credentials: tuple[str, str] = ADMIN) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def start(self) -> None:
        """Returns when objects can be put and listed."""
        master, volume, filer, s3 = self.ports
        config = self.folder / "s3.json"
        config.write_text(json.dumps(IDENTITIES))
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        ports = (f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(WEED), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={data}"),
                    *(*ports, "-filer", "-s3", f"-s3.port={s3}", f"-s3.config={config}"),
                    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
                    *("-master.volumeSizeLimitMB=64", "-volume.max=20"),
                    "-master.electionTimeout=1s",
                ],
                env=os.environ | {"WEED_S3_SSE_KEY": "a-key-of-thirty-two-bytes-length"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def stop(self) -> None:
        """End it as a crash would: asked to stop, it takes several seconds to leave its cluster."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_DEADLINE
        while True:
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            assert self.process and self.process.poll() is None, "the server has ended"
            try:
                if httpx.get(f"{self.url}/healthz").status_code == 200:
                    self._make_bucket()
                    return
            except Exception:
                time.sleep(0.1)

    def _make_bucket(self) -> None:
        admin = self.client()
        if BUCKET not in [each["Name"] for each in admin.list_buckets()["Buckets"]]:
            admin.create_bucket(Bucket=BUCKET)
        admin.put_object(Bucket=BUCKET, Key="probe", Body=b"x")
        admin.delete_object(Bucket=BUCKET, Key="probe")


@contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    server = SeaweedFS(folder, (_port(), _port(), _port(), _port()))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _port() -> int:
    """A free one whose gRPC port, 10000 above, is free too."""
    while True:
        with socket.socket() as probe, socket.socket() as grpc:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port > 55_000:
                continue
            try:
                grpc.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
