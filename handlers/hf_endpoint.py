"""A call of a Hugging Face Inference Endpoint to `GenerationRequest`s, and the results as JSON.

The endpoint's server hands over {"inputs": ..., "parameters": {...}}:

| inputs | what it is |
|---|---|
| a text | the prompt |
| a mapping | fields of a request |
| a list of those | each a request of its own; the answer is a list in the same order |
| bytes | the body of a call with Content-Type audio/...: the input audio |

`parameters` are fields of a request and hold for each input, the seed too: different seeds in one
call are given as mappings. All inputs are checked before the first clip is made. Of a raw audio
body the parameters come from the address, as texts and what the server makes of them.

The server takes one call at a time and answers every exception with status 400 and its text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args, get_type_hints

from handlers.contract import ServedPredictor
from handlers.input_audio import with_input_audio
from handlers.reply import delivery_of, error_text, reply_of
from handlers.serving import Serving
from musicgen.checkpoints.packed.format import packed_files
from musicgen.errors import InvalidRequest, MusicGenError
from musicgen.request import GenerationRequest
from musicgen.settings import Settings

INPUTS_MAX = 8
"""The server takes one call at a time: a longer list would keep everybody else waiting."""
MODEL_NAME_FILE = "model_name.txt"
"""In a repository without weights: the model to load from the hub instead."""

_KEYS = ("inputs", "parameters")
_INPUTS_ALLOWED = "a prompt, a mapping of request fields, or a list of those"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_TRUTH = {"true": True, "false": False}

logger = logging.getLogger(__name__)


class EndpointError(Exception):
    """What a caller of the endpoint reads: the code of a typed error and its text."""


class Endpoint:
    """Answers calls with `predictor`, into the bucket of `settings` or inside the answer."""

    def __init__(self, predictor: ServedPredictor, settings: Settings) -> None:
        self._serving = Serving(predictor)
        self._delivery = delivery_of(settings.bucket)
        self._networks = settings.input_networks

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """One call: a reply as plain JSON types, or a list of them for a list of inputs.

        Raises: `EndpointError`, and nothing else that is an `Exception`.
        """
        try:
            replies = self._replies(payloads_of(data))
            return replies if isinstance(data["inputs"], list) else replies[0]
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("a call failed unexpectedly")
            raise EndpointError(error_text(error)) from None

    def _replies(self, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with ExitStack() as files:
            requests = [
                GenerationRequest.from_mapping(
                    files.enter_context(with_input_audio(payload, self._networks))
                )
                for payload in payloads
            ]
            return [
                reply_of(self._serving.run(request, delivery=self._delivery))
                for request in requests
            ]


def payloads_of(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of each request that a call asks for.

    Raises: `InvalidRequest` for what has not the shape of a call.
    """
    for key, value in data.items():
        if key not in _KEYS:
            raise InvalidRequest(
                key, value, "a call has inputs and parameters; request fields go into parameters"
            )
    inputs, parameters = data.get("inputs"), data.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise InvalidRequest("parameters", parameters, "a mapping of request fields")
    if isinstance(inputs, (bytes, bytearray)):
        return [_merged({"input_audio": bytes(inputs)}, from_query(parameters))]
    if not isinstance(inputs, list):
        return [_merged(_fields(inputs), parameters)]
    if not 1 <= len(inputs) <= INPUTS_MAX:
        raise InvalidRequest("inputs", inputs, f"a list of 1 to {INPUTS_MAX} inputs")
    return [_merged(_fields(each), parameters) for each in inputs]


def from_query(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an address with the types of their fields.

    The server makes "16" a number and "true" a bool, even where a text is wanted, and leaves
    "0.5" and "-1" as texts. What does not read as its field's type stays as it is.
    """
    hints = get_type_hints(GenerationRequest)
    return {name: _typed(value, hints.get(name)) for name, value in parameters.items()}


def model_in(folder: Path) -> str | None:
    """The model that an endpoint's repository brings or names; None is neither."""
    if (folder / "config.json").is_file() or packed_files(folder):
        return str(folder)
    named = folder / MODEL_NAME_FILE
    return named.read_text(encoding="utf-8").strip() if named.is_file() else None


def _fields(given: object) -> dict[str, Any]:
    if isinstance(given, str):
        return {"prompt": given}
    if isinstance(given, Mapping):
        return dict(given)
    raise InvalidRequest("inputs", given, _INPUTS_ALLOWED)


def _merged(fields: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in fields:
        if name in parameters:
            raise InvalidRequest(
                name, parameters[name], "it is given by inputs already: leave it out of parameters"
            )
    return fields | dict(parameters)


def _typed(value: Any, hint: Any) -> Any:
    kinds = get_args(hint) or (hint,)
    if str in kinds and isinstance(value, (bool, int)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        return value
    if bool in kinds:
        return _TRUTH.get(value, value)
    if int in kinds and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    if float in kinds and _NUMBER.fullmatch(value):
        return float(value)
    return value
