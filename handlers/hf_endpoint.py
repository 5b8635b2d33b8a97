"""Hugging Face's translation: calls of an Inference Endpoint to requests, results to JSON.

The endpoint's server hands over {"inputs": ..., "parameters": {...}}:

| inputs | meaning |
|---|---|
| a text | the prompt |
| a mapping | fields of a request |
| a list of those | one request each; the answer is a list in the same order |
| bytes | the body of a call with Content-Type audio/...: the input audio |

`parameters` are fields of a request and apply to every input, the seed too: for different seeds in
one call give mappings. All inputs are checked before the first clip is made. With a raw audio body
the parameters come from the address, as texts or as the server has converted them.

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
from handlers.reply import build_reply, choose_delivery, format_error
from handlers.serving import Serving
from musicgen.checkpoints.packed.format import find_packed_files
from musicgen.errors import InvalidRequest, MusicGenError
from musicgen.request import GenerationRequest
from musicgen.settings import Settings

INPUTS_MAX = 8
"""Longest list of inputs. The server takes one call at a time, so other callers wait for it."""
MODEL_NAME_FILE = "model_name.txt"
"""File of a repository without weights, naming the model to load from the hub."""

_KEYS = ("inputs", "parameters")
_INPUTS_PROBLEM = "must be a prompt, a mapping of request fields, or a list of those"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WHOLE_NUMBER = re.compile(r"([+-]?\d{1,20})(\.0+)?", re.ASCII)
_WRITABLE_BITS = 10_000
_TRUTH = {"true": True, "false": False}

logger = logging.getLogger(__name__)


class EndpointError(Exception):
    """Error text for a caller of the endpoint: a stable code, a colon and a sentence."""


class EndpointCalls:
    """Calls of one endpoint. Clips go into the bucket of `settings`, or inside the answer."""

    def __init__(self, predictor: ServedPredictor, settings: Settings) -> None:
        self._serving = Serving(predictor, settings.input_networks)
        self._delivery = choose_delivery(settings.bucket)

    def handle(self, data: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """Answer one call: a reply as plain JSON types, or a list of them for a list of inputs.

        Raises: `EndpointError`, and no other `Exception`.
        """
        try:
            replies = self._run(read_payloads(data))
            return replies if isinstance(data["inputs"], list) else replies[0]
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("a call failed unexpectedly")
            raise EndpointError(format_error(error)) from None

    def _run(self, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        with ExitStack() as stack:
            # All before the first one runs: one invalid input refuses the whole call.
            requests = [stack.enter_context(self._serving.open_request(p)) for p in payloads]
            return [
                build_reply(self._serving.run(request, delivery=self._delivery))
                for request in requests
            ]


def read_payloads(data: object) -> list[dict[str, Any]]:
    """Return the fields of each request of a call.

    Raises: `InvalidRequest` for anything without the shape of a call.
    """
    if not isinstance(data, Mapping):
        problem = 'must be an object such as {"inputs": "calm piano"}'
        raise InvalidRequest("body", problem, value=data)
    for key in data:
        if key not in _KEYS:
            raise InvalidRequest(
                key, "is not a part of a call", advice="Put request fields into parameters."
            )
    inputs, parameters = data.get("inputs"), data.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise InvalidRequest("parameters", "must be a mapping of request fields", value=parameters)
    if isinstance(inputs, (bytes, bytearray)):
        return [_merge({"input_audio": bytes(inputs)}, parse_query(parameters))]
    if not isinstance(inputs, list):
        return [_merge(_read_fields(inputs), parameters)]
    if not 1 <= len(inputs) <= INPUTS_MAX:
        problem = f"must be a list of 1 to {INPUTS_MAX} inputs, not of {len(inputs)}"
        raise InvalidRequest("inputs", problem)
    return [_merge(_read_fields(value), parameters) for value in inputs]


def parse_query(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an address with the types of their fields.

    The server makes "16" a number and "true" a bool, even for text fields, and leaves "0.5" and
    "-1" as texts. A value not readable as its field's type stays as it is.
    """
    hints = get_type_hints(GenerationRequest)
    return {name: _convert(value, hints.get(name)) for name, value in parameters.items()}


def find_model(folder: Path) -> str | None:
    """Return the model contained in an endpoint's repository or named by it, else None."""
    if (folder / "config.json").is_file() or find_packed_files(folder):
        return str(folder)
    name_file = folder / MODEL_NAME_FILE
    return name_file.read_text(encoding="utf-8").strip() if name_file.is_file() else None


def _read_fields(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, Mapping):
        return dict(value)
    raise InvalidRequest("inputs", _INPUTS_PROBLEM, value=value)


def _merge(fields: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in fields:
        if name in parameters:
            raise InvalidRequest(name, "must be in inputs or in parameters, not in both")
    return fields | dict(parameters)


def _convert(value: Any, hint: Any) -> Any:
    kinds = get_args(hint) or (hint,)
    if str in kinds and isinstance(value, bool):
        return str(value).lower()
    if str in kinds and isinstance(value, int):
        # Python cannot write one of thousands of digits; the request refuses it.
        return str(value) if value.bit_length() <= _WRITABLE_BITS else value
    if not isinstance(value, str):
        return value
    if bool in kinds:
        return _TRUTH.get(value, value)
    if int in kinds and (whole := _WHOLE_NUMBER.fullmatch(value)):
        return int(whole[1])
    if float in kinds and _NUMBER.fullmatch(value):
        return float(value)
    return value
