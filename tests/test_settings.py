"""Settings come from one mapping; a bad value is an error that names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicgen.errors import SettingsError
from musicgen.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"MUSICGEN_MODEL": "", "MUSICGEN_THREADS": ""}) == Settings()


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        {
            "MUSICGEN_MODEL": "small",
            "MUSICGEN_DEVICE": "cuda:1",
            "MUSICGEN_PRECISION": "bfloat16",
            "MUSICGEN_ENGINE": "transformers",
            "MUSICGEN_THREADS": "3",
            "MUSICGEN_DATA_DIR": "/data",
            "MUSICGEN_LOG_LEVEL": "DEBUG",
        }
    )
    assert settings == Settings(
        "small", "cuda:1", "bfloat16", "transformers", 3, Path("/data"), "DEBUG"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MUSICGEN_DEVICE", "gpu"),
        ("MUSICGEN_DEVICE", "cuda:x"),
        ("MUSICGEN_PRECISION", "float16"),
        ("MUSICGEN_ENGINE", "audiocraft"),
        ("MUSICGEN_LOG_LEVEL", "loud"),
        ("MUSICGEN_THREADS", "0"),
        ("MUSICGEN_THREADS", "many"),
    ],
)
def test_a_bad_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as raised:
        Settings.from_env({variable: value})
    assert value in str(raised.value)
