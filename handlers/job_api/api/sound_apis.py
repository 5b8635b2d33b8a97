"""Shapes of other APIs' calls for sound: OpenAI, vLLM-Omni, ezlocalai, LocalAI and ElevenLabs.

| call | source |
|---|---|
| `POST /v1/audio/speech` | OpenAI's reference, "Create speech" |
| `POST /v1/audio/generate` | vLLM-Omni, `docs/serving/audio_generate_api.md` |
| `POST /v1/audio/music/generations` | ezlocalai, `app.py`, "Music Generation" of its README |
| `POST /v1/sound-generation` | LocalAI, "Sound Generation"; ElevenLabs, "Create sound effect" |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.job_api.api.sound_shapes import (
    LIVE_FORMATS,
    SoundCall,
    SoundShape,
    check_boolean,
    check_lyrics,
    check_speed,
    describe_music,
    read_format,
    read_streaming,
)
from musicgen.errors import InvalidRequest
from musicgen.request.limits import BITRATES, OUTPUT_FORMATS, SAMPLE_RATES

_NO_STEPS = "MusicGen has no diffusion steps. Leave it out."
_NO_VOICE = "Music has no voice. Describe the music in {}."
_WAVES = {"wav16": "16", "wav24": "24", "wav32": "float"}
"""Bit depths by ezlocalai's names of formats."""

_TEXT: dict[str, Any] = {"type": "string"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_NUMBER: dict[str, Any] = {"type": "number"}
_PROMPT = {**_TEXT, "description": "Description of the music."}
_MODEL = {**_TEXT, "description": "Name of a model of `GET /v1/models`; by default its default."}
_FORMAT = {**_TEXT, "enum": list(OUTPUT_FORMATS), "description": "File format."}
_SPEED = {**_NUMBER, "description": "Only 1: music has no speaking speed."}
_STREAM = {
    **_BOOLEAN,
    "description": f"Send the sound as it is made; for {', '.join(LIVE_FORMATS)}.",
}
_STREAM_FORMAT = {
    **_TEXT,
    "enum": ["audio"],
    "description": f"Send the sound as it is made; for {', '.join(LIVE_FORMATS)}.",
}
_VOICE = {"description": "Ignored: OpenAI's clients must send one.", "type": ["string", "object"]}
_WORD = {**_TEXT, "description": "Added to the prompt.", "maxLength": 60}
_LYRICS = {**_TEXT, "description": "Refused unless `instrumental` is true: MusicGen does not sing."}


def _read_speech(given: Mapping[str, Any], call: SoundCall) -> None:
    voice = given.get("voice")
    if voice is not None and not isinstance(voice, str | dict):
        raise InvalidRequest("voice", "must be text", value=voice)
    check_speed(given.get("speed"))
    read_format(given.get("response_format"), "response_format", call, "mp3")
    read_streaming(given, call)


SPEECH = SoundShape(
    title="SpeechRequest",
    names={"input": "prompt", "model": "model_version"},
    schemas={
        "input": _PROMPT,
        "model": _MODEL,
        "voice": _VOICE,
        "response_format": {**_FORMAT, "default": "mp3"},
        "speed": _SPEED,
        "stream_format": _STREAM_FORMAT,
        "stream": _STREAM,
    },
    refused={"instructions": _NO_VOICE.format("input")},
    read=_read_speech,
    example={"input": "upbeat electronic music", "model": "small", "voice": "alloy"},
)


def _read_generate(given: Mapping[str, Any], call: SoundCall) -> None:
    check_speed(given.get("speed"))
    start = given.get("audio_start", 0)
    if isinstance(start, bool) or start != 0:
        advice = "A clip begins at its beginning."
        raise InvalidRequest("audio_start", "must be 0", value=start, advice=advice)
    read_format(given.get("response_format"), "response_format", call, "wav")
    read_streaming(given, call)


GENERATE = SoundShape(
    title="AudioRequest",
    names={
        "input": "prompt",
        "model": "model_version",
        "audio_length": "duration",
        "guidance_scale": "classifier_free_guidance",
    },
    schemas={
        "input": _PROMPT,
        "model": _MODEL,
        "audio_length": {**_NUMBER, "description": "Length in seconds; by default 8."},
        "audio_start": {**_NUMBER, "description": "Only 0."},
        "guidance_scale": {**_NUMBER, "description": "Classifier-free guidance."},
        "response_format": {**_FORMAT, "default": "wav"},
        "speed": _SPEED,
        "stream_format": _STREAM_FORMAT,
        "stream": _STREAM,
    },
    refused={"num_inference_steps": _NO_STEPS},
    read=_read_generate,
    example={"input": "upbeat electronic music", "audio_length": 10.0},
)


def _read_music(given: Mapping[str, Any], call: SoundCall) -> None:
    check_lyrics(given)
    describe_music(given, call)
    wanted = given.get("output_format")
    if isinstance(wanted, str) and wanted in _WAVES:
        call.fields |= {"output_format": "wav", "bit_depth": _WAVES[wanted]}
    elif wanted is not None:
        read_format(wanted, "output_format", call, "wav")
    form = given.get("response_format", "url")
    if form == "b64_json":
        advice = "url names the clips; wav, mp3, flac, ogg or opus answers the sound itself."
        raise InvalidRequest("response_format", "cannot be b64_json", advice=advice)
    call.answers_links = form == "url"
    read_format(None if call.answers_links else form, "response_format", call, "wav")
    read_streaming(given, call)
    if call.answers_links and call.is_streamed:
        raise InvalidRequest("stream", "needs a response_format other than url")


MUSIC = SoundShape(
    title="MusicRequest",
    names={
        "prompt": "prompt",
        "model": "model_version",
        "duration": "duration",
        "n": "variations",
        "guidance_scale": "classifier_free_guidance",
    },
    schemas={
        "prompt": _PROMPT,
        "model": _MODEL,
        "duration": {**_NUMBER, "description": "Length in seconds; by default 8."},
        "n": {"type": "integer", "description": "Number of clips, with `response_format` url."},
        "guidance_scale": {**_NUMBER, "description": "Classifier-free guidance."},
        "response_format": {
            **_TEXT,
            "enum": ["url", *OUTPUT_FORMATS],
            "default": "url",
            "description": "`url` answers JSON with addresses, a file format the sound itself.",
        },
        "output_format": {**_TEXT, "enum": [*_WAVES, *OUTPUT_FORMATS]},
        "lyrics": _LYRICS,
        "instrumental": _BOOLEAN,
        "keyscale": _WORD,
        "timesignature": _WORD,
        "bpm": {**_NUMBER, "description": "Added to the prompt."},
        "vocal_language": {**_TEXT, "description": "Ignored: there is no voice."},
        "stream": _STREAM,
    },
    refused={
        "inference_steps": _NO_STEPS,
        "shift": _NO_STEPS,
        "solver": _NO_STEPS,
        "lm_model": "Choose the model by model.",
        "synth_model": "Choose the model by model.",
        "audio_codes": "input_audio takes a sound to continue.",
        "extra_parameters": "Send fields of POST /v1/generate beside the others.",
    },
    read=_read_music,
    example={"prompt": "upbeat electronic music", "duration": 10, "instrumental": True},
)


def _read_effect(given: Mapping[str, Any], call: SoundCall) -> None:
    for name in ("think", "do_sample"):
        check_boolean(name, given.get(name))
    if given.get("do_sample") is False:
        call.fields.setdefault("temperature", 0.0)
    check_lyrics(given)
    describe_music(given, call)
    read_named_format(given.get("output_format"), call)
    read_streaming(given, call)


def read_named_format(name: object, call: SoundCall) -> None:
    """Read ElevenLabs's names of formats, such as mp3_44100_128. Raises: `InvalidRequest`."""
    if not isinstance(name, str) or "_" not in name:
        read_format(name, "output_format", call, "wav")
        return
    container, *numbers = name.split("_")
    read_format(container, "output_format", call, "wav")
    for field, allowed, number in zip(
        ("sample_rate", "bitrate"), (SAMPLE_RATES, BITRATES), numbers, strict=False
    ):
        if not number.isdecimal() or int(number) not in allowed or len(numbers) > 2:
            rates, kilobits = (", ".join(map(str, each)) for each in (SAMPLE_RATES, BITRATES))
            advice = f"The sample rates are {rates} Hz, the bitrates {kilobits} kbit/s."
            raise InvalidRequest("output_format", "cannot be made", value=name, advice=advice)
        call.fields.setdefault(field, int(number))


SOUND_GENERATION = SoundShape(
    title="SoundRequest",
    names={"text": "prompt", "model_id": "model_version", "duration_seconds": "duration"},
    schemas={
        "text": _PROMPT,
        "model_id": _MODEL,
        "duration_seconds": {**_NUMBER, "description": "Length in seconds; by default 8."},
        "output_format": {**_TEXT, "description": "A file format, or a name like mp3_44100_128."},
        "do_sample": {**_BOOLEAN, "description": "false takes the likeliest tokens."},
        "think": {**_BOOLEAN, "description": "Ignored."},
        "lyrics": _LYRICS,
        "instrumental": _BOOLEAN,
        "keyscale": _WORD,
        "timesignature": _WORD,
        "bpm": {**_NUMBER, "description": "Added to the prompt."},
        "language": {**_TEXT, "description": "Ignored: there is no voice."},
        "vocal_language": {**_TEXT, "description": "Ignored: there is no voice."},
        "stream": _STREAM,
    },
    refused={
        "prompt_influence": "Use classifier_free_guidance or temperature.",
        "caption": "Describe the music in text.",
    },
    read=_read_effect,
    example={"text": "rain falling on a tin roof", "duration_seconds": 5},
)
