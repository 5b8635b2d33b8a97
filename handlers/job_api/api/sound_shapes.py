"""Translation of other APIs' calls for sound to the fields of a job.

A field is renamed, read, ignored or refused with a sentence; nothing is dropped in silence except
the fields that an API requires and music does not have. Fields of this server's own requests may
stand beside those of the other API (`extra_body` of OpenAI's clients).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.job_api.api.request_schema import JOB_FIELDS, build_request_schema
from musicgen.errors import InvalidRequest, UnknownField
from musicgen.request import request_fields
from musicgen.request.limits import OUTPUT_FORMATS

LIVE_FORMATS = ("wav", "mp3", "ogg")
_ABSENT_FORMATS = {
    "pcm": "Raw samples have no sample rate, and players expect OpenAI's 24 kHz. Use wav.",
    "aac": "Use mp3 or opus.",
}
_WORD_MAX_CHARACTERS = 60
_INSTRUMENTAL = ("", "[instrumental]", "[inst]", "instrumental")


@dataclass
class SoundCall:
    """Translated call.

    `fields`: of a job. `is_streamed`: the sound is sent as it is made. `answers_links`: the answer
    is JSON with the addresses of the clips.
    """

    fields: dict[str, Any]
    is_streamed: bool = False
    answers_links: bool = False


@dataclass(frozen=True, kw_only=True)
class SoundShape:
    """Body of one call of another API.

    `title`: name of its schema. `names`: fields of a request by their names in that API.
    `schemas`: JSON Schemas of its fields. `refused`: fields without a meaning here, with advice.
    `read`: reads the other fields of a body into a call. `example`: a body.
    """

    title: str
    names: Mapping[str, str]
    schemas: Mapping[str, dict[str, Any]]
    refused: Mapping[str, str]
    read: Callable[[Mapping[str, Any], SoundCall], None]
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        """Names of all fields of a body."""
        return [*self.schemas, *self.refused, *request_fields(), *JOB_FIELDS]

    def translate(self, body: Mapping[str, Any]) -> SoundCall:
        """Return the call of a body. Raises: `InvalidRequest` with the field."""
        given = {name: value for name, value in body.items() if value is not None}
        for name in given:
            if name not in self.known:
                raise UnknownField(name, self.known)
            if name in self.refused:
                raise InvalidRequest(name, "has no meaning here", advice=self.refused[name])
        call = SoundCall({name: v for name, v in given.items() if name not in self.schemas})
        for theirs, ours in self.names.items():
            if theirs not in given:
                continue
            if ours in call.fields:
                raise InvalidRequest(theirs, f"cannot be combined with {ours}")
            call.fields[ours] = given[theirs]
        self.read(given, call)
        if not call.answers_links and _count_clips(call.fields) > 1:
            advice = "POST /v1/generate makes several clips."
            raise InvalidRequest("variations", "must be 1: the answer is one sound", advice=advice)
        return call

    def build_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a body."""
        own = build_request_schema()["properties"]
        return {
            "type": "object",
            "title": self.title,
            "additionalProperties": False,
            "properties": {**own, **self.schemas},
            "examples": [dict(self.example)],
        }


def read_format(value: object, field: str, call: SoundCall, default: str) -> None:
    """Read the field of a file format. Raises: `InvalidRequest`."""
    if value is None:
        call.fields.setdefault("output_format", default)
        return
    if isinstance(value, str) and value in _ABSENT_FORMATS:
        raise InvalidRequest(field, f"cannot be {value}", advice=_ABSENT_FORMATS[value])
    if value not in OUTPUT_FORMATS:
        raise InvalidRequest.for_choice(field, value, OUTPUT_FORMATS)
    if call.fields.get("output_format", value) != value:
        raise InvalidRequest(field, "cannot be combined with output_format")
    call.fields["output_format"] = value


def read_streaming(given: Mapping[str, Any], call: SoundCall) -> None:
    """Read `stream` and `stream_format`; call it after the format. Raises: `InvalidRequest`."""
    form, stream = given.get("stream_format"), given.get("stream")
    if form not in (None, "audio"):
        advice = "Events with base64 are not sent. The sound itself is."
        raise InvalidRequest("stream_format", "must be audio", value=form, advice=advice)
    check_boolean("stream", stream)
    call.is_streamed = form == "audio" or stream is True
    wanted = call.fields.get("output_format", "wav")
    if call.is_streamed and wanted not in LIVE_FORMATS:
        name = "stream_format" if form else "stream"
        raise InvalidRequest(name, f"needs the format {', '.join(LIVE_FORMATS)} (it is {wanted})")


def check_speed(speed: object) -> None:
    """Check the speed of a voice: music has none. Raises: `InvalidRequest`."""
    if speed is not None and (isinstance(speed, bool) or speed != 1):
        advice = "Describe the tempo in the prompt."
        raise InvalidRequest("speed", "must be 1", value=speed, advice=advice)


def check_boolean(name: str, value: object) -> None:
    """Check an optional boolean. Raises: `InvalidRequest`."""
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(name, "must be true or false", value=value)


def check_lyrics(given: Mapping[str, Any]) -> None:
    """Check that nothing is to be sung. Raises: `InvalidRequest`."""
    lyrics, instrumental = given.get("lyrics", ""), given.get("instrumental")
    check_boolean("instrumental", instrumental)
    if not isinstance(lyrics, str):
        raise InvalidRequest("lyrics", "must be text", value=lyrics)
    if lyrics.strip().lower() not in _INSTRUMENTAL and instrumental is not True:
        advice = "MusicGen makes instrumental music. Send instrumental: true, or leave lyrics out."
        raise InvalidRequest("lyrics", "cannot be sung", advice=advice)


def describe_music(given: Mapping[str, Any], call: SoundCall) -> None:
    """Add key, tempo and time to the prompt; the tempo of a loop is a field.

    Raises: `InvalidRequest`.
    """
    words = [call.fields.get("prompt", "")]
    if (key := given.get("keyscale")) not in (None, ""):
        words.append(f"in {_read_word('keyscale', key)}")
    if (bpm := given.get("bpm")) is not None:
        request_fields()["bpm"].check(bpm)
        if call.fields.get("loop") is True:
            call.fields["bpm"] = bpm
        else:
            words.append(f"{bpm:g} bpm")
    if (time := given.get("timesignature")) not in (None, ""):
        words.append(f"time {_read_word('timesignature', time)}")
    # An empty prompt stays empty, and is refused as such.
    if isinstance(words[0], str) and words[0]:
        call.fields["prompt"] = ", ".join(words)


def _read_word(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _WORD_MAX_CHARACTERS:
        problem = f"must be text of at most {_WORD_MAX_CHARACTERS} characters"
        raise InvalidRequest(name, problem, value=value)
    return value


def _count_clips(fields: Mapping[str, Any]) -> int:
    prompts, variations = fields.get("prompts"), fields.get("variations", 1)
    count = len(prompts) if isinstance(prompts, list) else 1
    return count * variations if isinstance(variations, int) else count
