"""What is needed to make clips elsewhere is asked for at the start, each by its variable."""

from __future__ import annotations

from decimal import Decimal

import pytest

from musicgen.errors import SettingsError
from musicgen.settings import Settings
from musicgen.settings.remote import RemoteSettings

RUNPOD = {
    "MUSICGEN_POLICY": "fallback",
    "MUSICGEN_REMOTE_TARGET": "runpod",
    "MUSICGEN_REMOTE_NAME": "ep1",
    "MUSICGEN_REMOTE_PRICE": "0.00019",
    "MUSICGEN_REMOTE_MONTHLY_CAP": "20",
}


def test_every_variable_is_read() -> None:
    env = RUNPOD | {
        "MUSICGEN_REMOTE_TIMEOUT_SECONDS": "60",
        "MUSICGEN_REMOTE_FACTOR": "0.5",
        "MUSICGEN_OVERFLOW_SECONDS": "0",
    }
    assert Settings.from_env(env).remote == RemoteSettings(
        policy="fallback",
        target="runpod",
        name="ep1",
        timeout_seconds=60.0,
        price=Decimal("0.00019"),
        factor=0.5,
        monthly_cap=Decimal(20),
        overflow_seconds=0.0,
    )


def test_a_container_of_ours_needs_no_price() -> None:
    env = {"MUSICGEN_POLICY": "remote", "MUSICGEN_REMOTE_TARGET": "http://10.0.0.5:5000/"}
    assert Settings.from_env(env).remote.label == "http://10.0.0.5:5000"


@pytest.mark.parametrize(
    ("changed", "value", "reason"),
    [
        ("MUSICGEN_POLICY", "sometimes", "local, remote, fallback or overflow"),
        ("MUSICGEN_REMOTE_TARGET", "", "must be set when MUSICGEN_POLICY is fallback"),
        ("MUSICGEN_REMOTE_TARGET", "aws", "replicate, runpod, hf or a URL"),
        ("MUSICGEN_REMOTE_TARGET", "http://me:secret@host:1", "user name or a password"),
        ("MUSICGEN_REMOTE_NAME", "", "the endpoint's id"),
        ("MUSICGEN_REMOTE_PRICE", "", "0 turns cost accounting off"),
        ("MUSICGEN_REMOTE_PRICE", "-1", "from 0"),
        ("MUSICGEN_REMOTE_PRICE", "nan", "a number"),
        ("MUSICGEN_REMOTE_PRICE", "1 USD", "a number"),
        ("MUSICGEN_REMOTE_MONTHLY_CAP", "", "0 forbids all spending"),
        ("MUSICGEN_REMOTE_TIMEOUT_SECONDS", "0", "from 1"),
        ("MUSICGEN_OVERFLOW_SECONDS", "-1", "from 0"),
    ],
)
def test_what_is_wrong_or_missing_is_named(changed: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        RemoteSettings.from_env(RUNPOD | {changed: value})
    assert raised.value.variable == changed
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("target", "name", "reason"),
    [
        ("replicate", "", "OWNER/MODEL"),
        ("hf", "music", "the URL"),
        ("hf", "https://u:p@h", "user name"),
    ],
)
def test_each_platform_says_which_name_it_needs(target: str, name: str, reason: str) -> None:
    env = RUNPOD | {"MUSICGEN_REMOTE_TARGET": target, "MUSICGEN_REMOTE_NAME": name}
    with pytest.raises(SettingsError, match=reason) as raised:
        RemoteSettings.from_env(env)
    assert raised.value.variable == "MUSICGEN_REMOTE_NAME"


def test_local_needs_nothing_else() -> None:
    """A half of the rest may stand there for another day."""
    env = RUNPOD | {"MUSICGEN_POLICY": "local", "MUSICGEN_REMOTE_MONTHLY_CAP": ""}
    assert RemoteSettings.from_env(env).policy == "local"


@pytest.mark.parametrize(
    ("target", "name", "label"),
    [
        ("replicate", "me/music:v1", "replicate:me/music"),
        ("runpod", "ep1", "runpod:ep1"),
        ("hf", "https://x.endpoints.huggingface.cloud/", "hf:x.endpoints.huggingface.cloud"),
        ("https://host:8/path?key=1", None, "https://host:8"),
    ],
)
def test_the_label_is_short_and_shows_no_secret(target: str, name: str | None, label: str) -> None:
    assert RemoteSettings(target=target, name=name).label == label
