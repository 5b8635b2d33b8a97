"""A misspelt variable is an error; one injected by Kubernetes is neither an error nor a setting."""

from __future__ import annotations

import pytest

from musicgen.errors import SettingsError
from musicgen.settings import ApiSettings, Settings
from musicgen.settings.names import is_service_link
from musicgen.settings.table import list_variables

LINKS = {
    "MUSICGEN_SERVICE_HOST": "10.0.0.7",
    "MUSICGEN_PORT": "tcp://10.0.0.7:8000",
    "MUSICGEN_API_SERVICE_HOST": "10.0.0.7",
    "MUSICGEN_API_SERVICE_PORT": "8000",
    "MUSICGEN_API_SERVICE_PORT_HTTP": "8000",
    "MUSICGEN_API_PORT": "tcp://10.0.0.7:8000",
    "MUSICGEN_API_PORT_8000_TCP": "tcp://10.0.0.7:8000",
    "MUSICGEN_API_PORT_8000_TCP_PROTO": "tcp",
    "MUSICGEN_API_PORT_8000_TCP_PORT": "8000",
    "MUSICGEN_API_PORT_8000_TCP_ADDR": "10.0.0.7",
    "MUSICGEN_DNS_PORT_53_UDP": "udp://[fd00::7]:53",
}
"""As the kubelet writes them for Services called musicgen, musicgen-api and musicgen-dns."""


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MUSICGEN_SLOTZ", "MUSICGEN_SLOTS"),
        ("MUSICGEN_DATADIR", "MUSICGEN_DATA_DIR"),
        ("MUSICGEN_BUCKET_KEY_ID", "MUSICGEN_BUCKET_ACCESS_KEY_ID"),
        ("MUSICGEN_QUEUEMAX", "MUSICGEN_QUEUE_MAX"),
    ],
)
def test_a_misspelt_setting_is_an_error_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting. Did you mean {nearest}?"):
        Settings.from_env({name: "hush"})


def test_the_value_of_an_unknown_variable_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"MUSICGEN_SECRET": "hush"})
    assert "hush" not in str(caught.value)


def test_every_declared_variable_is_known() -> None:
    """Those of the API too: a worker reads them from the same environment."""
    for name in list_variables():
        with pytest.raises(SettingsError) as caught:
            Settings.from_env({name: "nonsense", "MUSICGEN_NO_SUCH_THING": "1"})
        assert caught.value.variable == "MUSICGEN_NO_SUCH_THING"


def test_variables_that_kubernetes_injects_change_nothing() -> None:
    assert all(is_service_link(name, value) for name, value in LINKS.items())
    assert Settings.from_env(LINKS) == Settings.from_env({})


def test_a_service_called_like_a_setting_does_not_set_it() -> None:
    """A Service called musicgen-metrics gives MUSICGEN_METRICS_PORT, which is a setting too."""
    assert (
        ApiSettings.from_env({"MUSICGEN_METRICS_PORT": "tcp://10.0.0.7:9090"}).metrics_port is None
    )
    assert ApiSettings.from_env({"MUSICGEN_METRICS_PORT": "9090"}).metrics_port == 9090


def test_a_port_of_a_person_is_no_service_link() -> None:
    with pytest.raises(SettingsError, match="MUSICGEN_API_PORT is not a setting"):
        Settings.from_env({"MUSICGEN_API_PORT": "8000"})
