"""Settings come from one mapping; a bad value is an error that names its variable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from musicgen.errors import SettingsError
from musicgen.settings import BucketSettings, Settings
from musicgen.settings.cog import read_concurrency
from musicgen.settings.job_api import ApiSettings
from musicgen.settings.settings import find_data_dir


def test_an_empty_environment_gives_the_defaults() -> None:
    defaults = replace(Settings(), spool_dir=find_data_dir({}) / "spool")
    assert Settings.from_env({}) == defaults
    assert Settings.from_env({"MUSICGEN_MODEL": "", "MUSICGEN_THREADS": ""}) == defaults


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        {
            "MUSICGEN_MODEL": "small",
            "MUSICGEN_DEVICE": "cuda:1",
            "MUSICGEN_PRECISION": "bfloat16",
            "MUSICGEN_ENGINE": "transformers",
            "MUSICGEN_THREADS": "3",
            "MUSICGEN_SLOTS": "4",
            "MUSICGEN_STREAM": "yes",
            "MUSICGEN_DATA_DIR": "/data",
            "MUSICGEN_SPOOL_DIR": "/spool",
            "MUSICGEN_INPUT_NETWORKS": "10.1.0.0/16, fd00::/8",
            "MUSICGEN_LOG_LEVEL": "DEBUG",
            "MUSICGEN_BUCKET": "music",
            "MUSICGEN_BUCKET_ENDPOINT_URL": "http://127.0.0.1:9000",
            "MUSICGEN_BUCKET_REGION": "eu-central-1",
            "MUSICGEN_BUCKET_PREFIX": "clips",
            "MUSICGEN_BUCKET_ADDRESSING": "path",
            "MUSICGEN_BUCKET_ENCRYPTION": "aws:kms",
            "MUSICGEN_BUCKET_KMS_KEY": "key",
            "MUSICGEN_BUCKET_STORAGE_CLASS": "STANDARD_IA",
            "MUSICGEN_BUCKET_TAGS": "team=music",
            "MUSICGEN_BUCKET_URL_SECONDS": "60",
            "MUSICGEN_BUCKET_PUBLIC_URL": "https://cdn.example.com",
            "MUSICGEN_BUCKET_DEADLINE": "30",
            "MUSICGEN_BUCKET_ACCESS_KEY_ID": "id",
            "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret",
        }
    )
    bucket = BucketSettings(
        name="music",
        endpoint_url="http://127.0.0.1:9000",
        region="eu-central-1",
        prefix="clips",
        addressing="path",
        encryption="aws:kms",
        kms_key="key",
        storage_class="STANDARD_IA",
        tags="team=music",
        url_seconds=60,
        public_url="https://cdn.example.com",
        deadline=30.0,
        access_key_id="id",
        secret_access_key="secret",
    )
    assert settings == Settings(
        model="small",
        device="cuda:1",
        precision="bfloat16",
        engine="transformers",
        threads=3,
        slots=4,
        stream=True,
        data_dir=Path("/data"),
        spool_dir=Path("/spool"),
        input_networks=("10.1.0.0/16", "fd00::/8"),
        log_level="DEBUG",
        bucket=bucket,
    )
    assert not [name for name in ("id", "secret") if f"'{name}'" in repr(settings)]


def test_the_spool_lies_in_the_data_folder_unless_told_otherwise() -> None:
    assert Settings.from_env({"MUSICGEN_DATA_DIR": "/data"}).spool_dir == Path("/data/spool")


def test_servers_have_one_folder_for_each_user() -> None:
    """In the folder of the command, `keys` made keys that no server knew."""
    is_root = os.geteuid() == 0
    home = Path("/var/lib" if is_root else Path.home() / ".local/share") / "musicgen"
    assert ApiSettings.from_env({}).data_dir == home
    assert Settings.from_env({}).spool_dir == home / "spool"
    assert Settings.from_env({}).data_dir == Path("outputs"), "clips of `musicgen generate`"
    own = {"XDG_DATA_HOME": "/srv/data"}
    assert ApiSettings.from_env(own).data_dir == Path("/srv/data/musicgen")
    given = {**own, "MUSICGEN_DATA_DIR": "here"}
    assert ApiSettings.from_env(given).data_dir == Path("here")
    assert ApiSettings.from_env({"XDG_DATA_HOME": "relative"}).data_dir == home


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MUSICGEN_DEVICE", "gpu"),
        ("MUSICGEN_DEVICE", "cuda:x"),
        ("MUSICGEN_PRECISION", "float16"),
        ("MUSICGEN_ENGINE", "audiocraft"),
        ("MUSICGEN_LOG_LEVEL", "loud"),
        ("MUSICGEN_KV_CACHE", "fp8"),
        ("MUSICGEN_THREADS", "0"),
        ("MUSICGEN_THREADS", "many"),
        ("MUSICGEN_SLOTS", "0"),
        ("MUSICGEN_STREAM", "perhaps"),
        ("MUSICGEN_INPUT_NETWORKS", "10.1.0.0/99"),
        ("MUSICGEN_BUCKET_ADDRESSING", "dns"),
        ("MUSICGEN_BUCKET_ENCRYPTION", "rot13"),
        ("MUSICGEN_BUCKET_URL_SECONDS", "604801"),
        ("MUSICGEN_BUCKET_DEADLINE", "-1"),
    ],
)
def test_a_bad_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as raised:
        Settings.from_env({variable: value})
    assert value in str(raised.value)


def test_an_int8_cache_needs_the_kernels_that_read_it() -> None:
    with pytest.raises(SettingsError, match="Set MUSICGEN_KERNELS to 1") as raised:
        Settings.from_env({"MUSICGEN_KV_CACHE": "int8"})
    assert str(raised.value).startswith("MUSICGEN_KV_CACHE needs this project's kernels (was ")
    settings = Settings.from_env({"MUSICGEN_KV_CACHE": "int8", "MUSICGEN_KERNELS": "1"})
    assert settings.kv_cache == "int8"
    assert Settings.from_env({"MUSICGEN_KV_CACHE": ""}).kv_cache == "own"


def test_predictions_that_cog_runs_side_by_side_are_slots() -> None:
    assert Settings.from_env({"COG_MAX_CONCURRENCY": "3"}).slots == 3
    env = {"COG_MAX_CONCURRENCY": "3", "MUSICGEN_SLOTS": "2"}
    assert (Settings.from_env(env).slots, read_concurrency(env)) == (2, 3)
    assert read_concurrency({}) == 1


def test_a_bad_value_of_cogs_variable_names_that_one() -> None:
    with pytest.raises(SettingsError, match=r"^COG_MAX_CONCURRENCY must be"):
        Settings.from_env({"COG_MAX_CONCURRENCY": "0"})
    with pytest.raises(SettingsError, match=r"^COG_MAX_CONCURRENCY must be"):
        read_concurrency({"COG_MAX_CONCURRENCY": "0"})


def test_a_bad_value_given_in_code_is_refused_too() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings(slots=0)
    assert str(raised.value) == "MUSICGEN_SLOTS must be a whole number from 1 (was 0)."


@pytest.mark.parametrize("deadline", [float("nan"), float("inf"), 0.5])
def test_a_number_outside_its_limits_is_refused(deadline: float) -> None:
    with pytest.raises(SettingsError, match="a number of seconds from 1 to 86400"):
        BucketSettings(deadline=deadline)


def test_a_password_in_an_endpoint_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="ENDPOINT_URL") as raised:
        Settings.from_env({"MUSICGEN_BUCKET_ENDPOINT_URL": "http://me:hunter2@example.com"})
    assert "hunter2" not in str(raised.value)


def test_half_of_the_credentials_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="MUSICGEN_BUCKET_SECRET_ACCESS_KEY") as raised:
        Settings.from_env({"MUSICGEN_BUCKET_ACCESS_KEY_ID": "AKIA123"})
    assert "AKIA123" not in str(raised.value)
