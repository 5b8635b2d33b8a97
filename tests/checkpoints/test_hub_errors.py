"""Each error class of huggingface_hub and its HTTP library is decided about.

A new version with a new class fails here until somebody adds it to a table.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import __version__, constants, errors
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session
from packaging.version import Version

from musicgen.checkpoints import hub
from musicgen.checkpoints.hub import INTERRUPTIONS, download_snapshot
from musicgen.errors import CheckpointNotFound
from tests.support.hub_mirror import Mirror, hub_mirror

HTTP_LIBRARY = HfHubHTTPError.__mro__[1].__module__.partition(".")[0]
pytestmark = pytest.mark.skipif(
    HTTP_LIBRARY == "requests", reason="an old huggingface_hub without hooks of requests"
)
AGAIN = {"CloseError", "ReadError", "RemoteProtocolError", "WriteError"}
"""Raised once by a request, they end in a whole download, by a new attempt."""
BY_THE_HUB = {
    *("ConnectError", "ConnectTimeout", "PoolTimeout", "ReadTimeout", "TimeoutException"),
    "WriteTimeout",
}
"""The same, by huggingface_hub's own attempts; early versions made them within a body alone."""
SUCCEEDS = AGAIN | BY_THE_HUB if Version(__version__) >= Version("1.31") else AGAIN
FINAL = {
    *("CookieConflict", "DecodingError", "HTTPError", "HTTPStatusError", "InvalidURL"),
    *("LocalProtocolError", "NetworkError", "ProtocolError", "ProxyError", "RequestError"),
    *("RequestNotRead", "ResponseNotRead", "SSEError", "StreamClosed", "StreamConsumed"),
    *("StreamError", "TooManyRedirects", "TransportError", "UnsupportedProtocol"),
}
"""They end the download in one line."""
OF_THE_HUB = {
    *("BadRequestError", "BucketBatchError", "BucketNotFoundError", "CLIError"),
    *("CLIExtensionInstallError", "CacheNotFound", "CachedRepoTreeNotFoundError"),
    *("ConfirmationError", "CorruptedCacheException", "DDUFCorruptedFileError", "DDUFError"),
    *("DDUFExportError", "DDUFInvalidEntryNameError", "DeviceCodeError", "DisabledRepoError"),
    *("DryRunError", "EntryNotFoundError", "FileDuplicationError", "FileMetadataError"),
    *("GatedRepoError", "GenerationError", "HFValidationError", "HfHubHTTPError", "HfUriError"),
    *("IncompleteGenerationError", "IncompleteSnapshotError", "InferenceEndpointError"),
    *("InferenceEndpointTimeoutError", "InferenceTimeoutError", "JobNotFoundError"),
    *("LocalEntryNotFoundError", "LocalTokenNotFoundError", "NotASafetensorsRepoError"),
    *("OIDCError", "OfflineModeIsEnabled", "OverloadedError", "RemoteEntryNotFoundError"),
    *("RepositoryNotFoundError", "RevisionNotFoundError", "RevisionResolutionError"),
    *("SafetensorsParsingError", "SandboxCommandError", "SandboxError", "UnknownError"),
    *("StrictDataclassClassValidationError", "StrictDataclassDefinitionError"),
    *("StrictDataclassError", "StrictDataclassFieldValidationError", "TextGenerationError"),
    *("ValidationError", "XetAuthorizationError", "XetDownloadError", "XetError"),
    "XetRefreshTokenError",
}
"""None is worth another attempt: the hub has made its own."""


def _find_errors(module: Any) -> dict[str, type[Exception]]:
    own = module.__name__.partition(".")[0]
    return {
        name: kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__.partition(".")[0] == own
    }


OF_HTTP = _find_errors(importlib.import_module(HTTP_LIBRARY))


def test_each_class_is_decided_about() -> None:
    assert set(OF_HTTP) <= AGAIN | BY_THE_HUB | FINAL
    assert set(_find_errors(errors)) <= OF_THE_HUB
    assert AGAIN <= INTERRUPTIONS
    # Connections raise these errors; a class without a counterpart would leave as it is.
    below = _find_errors(sys.modules[HTTP_LIBRARY.replace("httpx", "httpcore")])
    assert set(below) - {"ConnectionNotAvailable"} <= set(OF_HTTP)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with hub_mirror({"me/tune": {"model.safetensors": bytes(1000)}}) as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield running


@pytest.mark.parametrize("kind", [*OF_HTTP.values(), *_find_errors(errors).values()])
def test_each_class_ends_in_a_whole_file_or_in_one_line(
    mirror: Mirror, kind: type[Exception]
) -> None:
    """The request for the weights raises it once, inside huggingface_hub."""
    error = kind.__new__(kind, "first line\nsecond line")
    error.args = ("first line\nsecond line",)
    raised = []

    def interfere(request: Any) -> None:
        if not raised and request.method == "GET" and request.url.path.endswith(".safetensors"):
            raised.append(error)
            raise error

    session: Any = get_session()
    before = session.event_hooks
    session.event_hooks = {**before, "request": [*before["request"], interfere]}
    try:
        if kind.__name__ in SUCCEEDS and kind in OF_HTTP.values():
            folder = download_snapshot("me/tune", None, ["*.safetensors"])
            assert (folder / "model.safetensors").stat().st_size == 1000
        else:
            with pytest.raises(CheckpointNotFound) as seen:
                download_snapshot("me/tune", None, ["*.safetensors"])
            assert "\n" not in str(seen.value)
            assert kind.__name__ in str(seen.value)
    finally:
        session.event_hooks = before
    assert raised and hub.is_interruption(error) == (kind.__name__ in AGAIN)
