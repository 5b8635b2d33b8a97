"""Weights from an address: whole and compared, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from musicgen.checkpoints import download, remote_file
from musicgen.checkpoints.download import fetch
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.checkpoints.packed.format import check_hashes
from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete, CheckpointNotFound, DiskFull
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import BucketSettings, Settings
from musicgen.storage.s3_client import open_client
from tests.support import ROOT
from tests.support.range_server import RangeServer, range_server
from tests.support.seaweedfs import APP, BUCKET, SeaweedFS, seaweedfs

PART = 200_000


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(locate("demo"), "plain-float32", tmp_path_factory.mktemp("demo")).path


@pytest.fixture
def server(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """It has a file of many parts, and a client that does not wait long between attempts."""
    monkeypatch.setattr(remote_file, "PART_BYTES", PART)
    monkeypatch.setattr(remote_file, "PAUSE_SECONDS", 0.01)
    with range_server(packed.read_bytes()) as known:
        yield known


def _settings(folder: Path, model: str = "demo") -> Settings:
    return Settings(model=model, weights_dir=folder, data_dir=folder / "out", precision="float32")


def _nothing_of_it_in(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_a_file_is_fetched_in_parts_and_kept(
    server: RangeServer, packed: Path, tmp_path: Path
) -> None:
    path = fetch(server.url, _settings(tmp_path))
    assert path.read_bytes() == packed.read_bytes()
    assert set(server.asked[1:]) == set(range(0, len(server.content), PART))
    asked = len(server.asked)
    assert fetch(server.url, _settings(tmp_path)) == path
    assert len(server.asked) == asked, "what is there is not fetched again"
    assert [each.name for each in tmp_path.iterdir() if each.suffix != ".lock"] == [path.name]


def test_the_predictor_takes_an_address(server: RangeServer, tmp_path: Path) -> None:
    predictor = Predictor.load(_settings(tmp_path, server.url))
    result = predictor.generate(GenerationRequest(prompt="piano", duration=0.2))
    assert result.model == "demo"
    assert result.licence == "Apache-2.0"


def test_a_part_that_fails_is_asked_for_again(server: RangeServer, tmp_path: Path) -> None:
    server.fail_at = {0, PART, 5 * PART}
    check_hashes(fetch(server.url, _settings(tmp_path)))
    assert not server.fail_at


def test_a_server_that_ends_every_answer_early(server: RangeServer, tmp_path: Path) -> None:
    server.cut = True
    with pytest.raises(CheckpointNotFound, match=r"packed stopped at byte \d+ of .*check the serv"):
        fetch(server.url, _settings(tmp_path))
    assert _nothing_of_it_in(tmp_path)


def test_a_file_that_changes_meanwhile_is_not_mixed(server: RangeServer, tmp_path: Path) -> None:
    server.change_after = 3
    with pytest.raises(CheckpointCorrupt, match="changed during the download"):
        fetch(server.url, _settings(tmp_path))
    assert _nothing_of_it_in(tmp_path)


def test_a_server_without_ranges(server: RangeServer, packed: Path, tmp_path: Path) -> None:
    server.ranges = False
    assert fetch(server.url, _settings(tmp_path)).read_bytes() == packed.read_bytes()


def test_a_flipped_bit_on_the_way_is_found(server: RangeServer, tmp_path: Path) -> None:
    """Also two that hide from the sums, because they cancel out."""
    content = bytearray(server.content)
    content[-1] ^= 1
    server.content = bytes(content)
    with pytest.raises(CheckpointCorrupt, match="differs from its hash"):
        fetch(server.url, _settings(tmp_path))
    assert _nothing_of_it_in(tmp_path)


def test_a_pinned_hash_holds(server: RangeServer, tmp_path: Path) -> None:
    right = hashlib.sha256(server.content).hexdigest()
    check_hashes(fetch(f"{server.url}#sha256={right}", _settings(tmp_path)))
    with pytest.raises(
        CheckpointCorrupt, match=f"sha256 {right}, but MUSICGEN_MODEL names another"
    ):
        fetch(f"{server.url}#sha256={'0' * 64}", _settings(tmp_path))
    with pytest.raises(CheckpointNotFound, match="64 hexadecimal digits"):
        fetch(f"{server.url}#sha256=abc", _settings(tmp_path))


def test_a_signature_is_not_told(server: RangeServer, tmp_path: Path) -> None:
    server.cut = True
    with pytest.raises(CheckpointNotFound) as raised:
        fetch(f"{server.url}?signature=secret", _settings(tmp_path))
    assert "secret" not in str(raised.value)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="could not be fetched"):
        fetch("http://127.0.0.1:9/x.packed", _settings(tmp_path))


def test_a_disk_without_room_is_said_before(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match="MUSICGEN_WEIGHTS_DIR"):
        fetch(server.url, _settings(tmp_path))
    assert len(server.asked) == 1 and _nothing_of_it_in(tmp_path)


FETCH = "from musicgen.checkpoints.download import main; main()"


def _worker(address: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"MUSICGEN_MODEL": address, "MUSICGEN_WEIGHTS_DIR": str(folder)}
    return subprocess.Popen([sys.executable, "-c", FETCH], cwd=ROOT, env=environment)


def test_workers_that_share_a_volume_fetch_once(
    server: RangeServer, packed: Path, tmp_path: Path
) -> None:
    workers = [_worker(server.url, tmp_path) for _ in range(3)]
    assert [each.wait(60) for each in workers] == [0, 0, 0]
    (found,) = tmp_path.glob("*.packed")
    assert found.read_bytes() == packed.read_bytes()
    assert server.asked.count(0) <= 2, "one question for the size, one for the first part"


def test_a_killed_download_leaves_nothing_that_is_loaded(
    server: RangeServer, packed: Path, tmp_path: Path
) -> None:
    server.cut = True
    worker = _worker(server.url, tmp_path)
    while not list(tmp_path.glob(".*.partial")):
        assert worker.poll() is None
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not list(tmp_path.glob("*.packed"))
    server.cut = False
    assert fetch(server.url, _settings(tmp_path)).read_bytes() == packed.read_bytes()
    assert not list(tmp_path.glob(".*.partial"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real server that speaks S3."""
    with seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(
    store: SeaweedFS, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings for a bucket that has the file at models/demo.packed."""
    monkeypatch.setattr(remote_file, "PART_BYTES", PART)
    store.client().upload_file(str(packed), BUCKET, "models/demo.packed")
    place = BucketSettings(endpoint_url=store.url, access_key_id=APP[0], secret_access_key=APP[1])
    return Settings(weights_dir=tmp_path / "weights", bucket=place)


S3_FILE = f"s3://{BUCKET}/models/demo.packed"


class _NoBody(BytesIO):
    def stream(self) -> Iterator[bytes]:
        return iter([])


BUSY = AWSResponse("", 503, {}, _NoBody())


def _on_every_part(monkeypatch: pytest.MonkeyPatch, act: Callable[[Any], Any]) -> list[str]:
    """Call `act` before each part is asked for; return the ranges asked for, as they come."""
    ranges: list[str] = []

    def open_observed(*arguments: Any, **options: Any) -> Any:
        client = open_client(*arguments, **options)

        def observe(request: Any, **_: Any) -> Any:
            ranges.append(request.headers["Range"])
            return act(ranges)

        client.meta.events.register("before-send.s3.GetObject", observe)
        return client

    monkeypatch.setattr(remote_file, "open_client", open_observed)
    return ranges


def test_s3(packed: Path, bucket: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = _on_every_part(monkeypatch, lambda _: None)
    found = fetch(S3_FILE, bucket)
    assert found.read_bytes() == packed.read_bytes()
    assert len(ranges) == len(set(ranges)) == -(-packed.stat().st_size // PART)
    with pytest.raises(CheckpointNotFound, match=r"s3://.*/other could not be fetched"):
        fetch(f"s3://{BUCKET}/other", bucket)


def test_s3_asks_again_for_a_part_that_fails(
    packed: Path, bucket: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = _on_every_part(monkeypatch, lambda asked: BUSY if len(asked) in (1, 4) else None)
    assert fetch(S3_FILE, bucket).read_bytes() == packed.read_bytes()
    assert len(ranges) == len(set(ranges)) + 2


def test_s3_gives_up_a_part_that_always_fails(
    bucket: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_file, "ATTEMPTS", 2)
    _on_every_part(monkeypatch, lambda asked: BUSY if len(asked) > 3 else None)
    with pytest.raises(CheckpointNotFound, match=r"stopped within its \d+ bytes.*check the server"):
        fetch(S3_FILE, bucket)
    assert _nothing_of_it_in(bucket.weights_dir)


class _FullDisk(BytesIO):
    def write(self, _: Any) -> int:
        raise OSError(errno.ENOSPC, "full")


def test_s3_tells_a_full_disk_from_a_broken_network(bucket: Settings) -> None:
    with (
        remote_file.open_remote_file(S3_FILE, S3_FILE, bucket.bucket) as remote,
        pytest.raises(OSError) as raised,
    ):
        remote.save(_FullDisk())
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("moment", [1, 3], ids=["before the first part", "between parts"])
def test_s3_does_not_mix_a_file_that_changes(
    store: SeaweedFS, bucket: Settings, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    other = bytes(5 * PART)

    def replace_it(asked: list[str]) -> None:
        if len(asked) == moment:
            store.client().put_object(Bucket=BUCKET, Key="models/demo.packed", Body=other)

    _on_every_part(monkeypatch, replace_it)
    with pytest.raises(CheckpointCorrupt, match="changed during the download"):
        fetch(S3_FILE, bucket)
    assert _nothing_of_it_in(bucket.weights_dir)


@pytest.fixture(scope="module")
def packed_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tar") / "tuned.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tape:
        tape.add(locate("demo").folder, "my-tune")
    return path


@pytest.fixture
def archive(packed_tar: Path, tmp_path: Path) -> Path:
    """The demo in a folder of a tar, as fine-tunes are handed around."""
    return Path(shutil.copy(packed_tar, tmp_path))


def _model_of(settings: Settings) -> str:
    predictor = Predictor.load(settings)
    predictor.generate(GenerationRequest(prompt="piano", duration=0.1))
    return predictor.label


def test_an_archive_of_this_machine_is_unpacked_once(archive: Path, tmp_path: Path) -> None:
    settings = _settings(tmp_path / "kept", str(archive))
    assert _model_of(settings) == "my-tune"
    folder = fetch(str(archive), settings)
    (folder / "mark").touch()
    assert (fetch(str(archive), settings) / "mark").exists()
    os.utime(archive, (0, 0))
    assert not (fetch(str(archive), settings) / "mark").exists(), "another one of this name"


def test_an_archive_at_an_address_is_fetched_and_unpacked(
    server: RangeServer, archive: Path, tmp_path: Path
) -> None:
    server.content = archive.read_bytes()
    kept = tmp_path / "kept"
    assert _model_of(_settings(kept, server.url)) == "my-tune"
    asked = len(server.asked)
    assert _model_of(_settings(kept, server.url)) == "my-tune"
    assert len(server.asked) == asked
    assert not list(kept.glob("*.packed")) and not list(kept.glob(".*.partial"))


@pytest.mark.parametrize("damage", ["cut", "empty"])
def test_of_a_damaged_archive_nothing_is_kept(archive: Path, tmp_path: Path, damage: str) -> None:
    if damage == "cut":
        archive.write_bytes(archive.read_bytes()[:-100_000])
    else:
        with tarfile.open(archive, "w:gz"):
            pass
    with pytest.raises((CheckpointCorrupt, CheckpointIncomplete)):
        fetch(str(archive), _settings(tmp_path / "kept"))
    assert not [path for path in (tmp_path / "kept").iterdir() if path.suffix != ".lock"]
