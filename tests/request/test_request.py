"""One validation for every platform: what is refused, how, and what is let through."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musicgen import errors
from musicgen.request import GenerationRequest, seed_of_variation
from musicgen.request.limits import (
    BEATS_MAX,
    BEATS_MIN,
    BPM_MAX,
    BPM_MIN,
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    NORMALIZATION_STRATEGIES,
    OUTPUT_FORMATS,
    PROMPT_MAX_CHARACTERS,
    SEED_MAX,
)
from musicgen.request.sections import parse_sections

NAN = float("nan")
CLIP = Path("clip.wav")
PARTS = [{"prompt": "a", "duration": 4.0}]
BAD: list[tuple[type[errors.InvalidRequest], dict[str, Any]]] = [
    (errors.EmptyPrompt, {"prompt": ""}),
    (errors.EmptyPrompt, {"prompt": " \n\t"}),
    (errors.EmptyPrompt, {}),
    (errors.PromptTooLong, {"prompt": "x" * (PROMPT_MAX_CHARACTERS + 1)}),
    (errors.InvalidRequest, {"prompt": 7}),
    *[
        (errors.InvalidDuration, {"duration": value})
        for value in (0, -1, 0.05, NAN, float("inf"), DURATION_MAX_SECONDS + 0.01, "5", True)
    ],
    *[(errors.InvalidSeed, {"seed": value}) for value in (-2, -1.5, SEED_MAX + 1, 1.5, "7", True)],
    *[(errors.InvalidVariations, {"variations": value}) for value in (0, 9, 1.5, True)],
    *[(errors.InvalidTopK, {"top_k": value}) for value in (-1, 2049, 2.5)],
    *[(errors.InvalidTopP, {"top_p": value}) for value in (-0.1, 1.1, NAN)],
    *[(errors.InvalidTemperature, {"temperature": value}) for value in (-1, NAN, float("inf"))],
    *[(errors.InvalidGuidance, {"classifier_free_guidance": v}) for v in (-3, 1001, NAN)],
    (errors.UnknownFormat, {"output_format": "aac"}),
    (errors.UnknownStrategy, {"normalization_strategy": "loud"}),
    (errors.InvalidBitDepth, {"bit_depth": "8"}),
    (errors.InvalidContinuation, {"continuation": True}),
    (errors.InvalidContinuation, {"continuation": "yes"}),
    (errors.InvalidContinuation, {"continuation_start": -1}),
    (errors.InvalidContinuation, {"continuation_start": 3, "continuation_end": 2}),
    (errors.InvalidContinuation, {"continuation_end": -2}),
    (errors.InvalidInputAudio, {"input_audio": "/etc/hostname"}),
    (errors.UnknownField, {"promt": "piano"}),
    *[(errors.InvalidRequest, {"extend_stride": v}) for v in (0, 0.99, 29.01, NAN, "18", True)],
    (errors.InvalidRequest, {"negative_prompt": 7}),
    (errors.PromptTooLong, {"negative_prompt": "x" * (PROMPT_MAX_CHARACTERS + 1)}),
    (errors.InvalidRequest, {"negative_prompt": "drums", "classifier_free_guidance": 1}),
    *[
        (errors.InvalidRequest, {"prompts": value, "prompt": ""})
        for value in ([], "x", '["a"', [1], {"a": 1}, ["a"] * 9, "[" * 100_000)
    ],
    (errors.EmptyPrompt, {"prompts": ["a", " "], "prompt": ""}),
    (errors.InvalidRequest, {"prompts": ["a"], "prompt": "b"}),
    (errors.InvalidRequest, {"prompts": ["a"] * 3, "prompt": "", "variations": 3}),
    *[
        (errors.InvalidRequest, {"sections": value})
        for value in (
            [],
            "x",
            7,
            ["a"],
            [{"prompt": "a"}],
            [{"prompt": 1, "duration": 1}],
            [{"prompt": "a", "duration": 0.05}],
            [{"prompt": "a", "duration": "1"}],
            [{"prompt": "a", "duration": 1, "bars": 4}],
            [{"prompt": "a", "duration": 1}] * 33,
        )
    ],
    *[
        (errors.InvalidDuration, {"sections": [{"prompt": "a", "duration": seconds}] * 2})
        for seconds in (200, 1e7, 10**400)
    ],
    (errors.InvalidDuration, {"sections": [{"prompt": "a", "duration": 5}], "duration": 9}),
    (errors.InvalidRequest, {"sections": PARTS, "loop": True, "bpm": 100}),
    (errors.InvalidRequest, {"sections": PARTS, "continuation": True, "input_audio": CLIP}),
    (errors.InvalidRequest, {"loop": True}),
    (errors.InvalidRequest, {"loop": 1, "bpm": 100}),
    (errors.InvalidRequest, {"loop": True, "bpm": 100, "trim_silence": True}),
    (errors.InvalidRequest, {"loop": True, "bpm": 100, "fade_out": 1.0}),
    (errors.InvalidDuration, {"loop": True, "bpm": 100, "duration": DURATION_MAX_SECONDS}),
    *[(errors.InvalidRequest, {"bpm": value}) for value in (29, 301, NAN, "120")],
    *[(errors.InvalidRequest, {"beats_per_bar": value}) for value in (1, 13, 3.5)],
    *[(errors.InvalidRequest, {"fade_in": value}) for value in (-1, 31, NAN, True)],
    (errors.InvalidRequest, {"fade_in": 5.0, "fade_out": 4.0}),
    (errors.InvalidRequest, {"trim_silence": "yes"}),
    (errors.InvalidRequest, {"steady_level": 0}),
    *[(errors.InvalidRequest, {"target_loudness": value}) for value in (-41, 0, NAN)],
    (errors.InvalidRequest, {"target_loudness": -20.0, "normalization_strategy": "peak"}),
    *[(errors.InvalidRequest, {"true_peak_ceiling": value}) for value in (-12.1, 0, NAN)],
    (errors.InvalidRequest, {"true_peak_ceiling": -2.0, "normalization_strategy": "none"}),
    *[(errors.InvalidRequest, {"sample_rate": value}) for value in (22_050, 0, "48000", True)],
    (errors.InvalidRequest, {"sample_rate": 44_100, "output_format": "opus"}),
    (errors.InvalidRequest, {"bitrate": 128}),
    (errors.InvalidRequest, {"bitrate": 128, "output_format": "ogg"}),
    *[(errors.InvalidRequest, {"bitrate": v, "output_format": "mp3"}) for v in (100, 0, "64")],
]


@pytest.mark.parametrize(("error", "payload"), BAD, ids=str)
def test_bad_input_names_the_field_the_value_and_what_is_allowed(
    error: type[errors.InvalidRequest], payload: dict[str, Any]
) -> None:
    given = {"prompt": "piano"} | payload if error is not errors.EmptyPrompt else payload
    with pytest.raises(error) as raised:
        GenerationRequest.from_mapping(given)
    assert type(raised.value) is error
    assert raised.value.field in str(raised.value)
    assert raised.value.problem in str(raised.value)
    if raised.value.value is not errors.OMITTED:
        assert repr(raised.value.value)[:80] in str(raised.value)


def test_unknown_names_list_the_choices_and_the_nearest() -> None:
    with pytest.raises(errors.UnknownFormat, match=r"wav, flac, mp3, ogg, opus.*flac\?"):
        GenerationRequest(prompt="x", output_format="falc")
    with pytest.raises(errors.UnknownStrategy) as strategy:
        GenerationRequest(prompt="x", normalization_strategy="RMS")
    assert all(name in str(strategy.value) for name in NORMALIZATION_STRATEGIES)
    with pytest.raises(errors.UnknownField, match="Did you mean temperature"):
        GenerationRequest.from_mapping({"prompt": "x", "temprature": 1})


def test_a_huge_value_does_not_make_a_huge_error() -> None:
    with pytest.raises(errors.PromptTooLong) as raised:
        GenerationRequest(prompt="x" * 10_000_000)
    assert len(str(raised.value)) < 300


def _nest(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


@pytest.mark.parametrize("value", [_nest(5000), 10**5000], ids=["nested", "large"])
@pytest.mark.parametrize("name", [field.name for field in fields(GenerationRequest)])
def test_a_value_that_python_cannot_print_is_refused_by_its_field(name: str, value: object) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        GenerationRequest.from_mapping({"prompt": "x"} | {name: value})
    assert raised.value.field == name


def test_megabytes_in_place_of_a_name_are_no_misspelling() -> None:
    """To look for the nearest name in them took seconds and a hundred times their memory."""
    text = "wav" * 1_000_000
    assert errors.find_nearest(text, ["wav"]) is None
    with pytest.raises(errors.UnknownFormat):
        GenerationRequest(prompt="x", output_format=text)
    with pytest.raises(errors.UnknownModel, match="must be the name of a model"):
        GenerationRequest(prompt="x", model_version=text)


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_a_blank_name_can_be_seen_in_its_error(name: str) -> None:
    with pytest.raises(errors.UnknownField) as raised:
        GenerationRequest.from_mapping({"prompt": "x", name: 1})
    assert str(raised.value).startswith(f"{name!r} is not a field of a request.")


def test_a_tiny_temperature_acts_as_0() -> None:
    """Logits divided by it overflow, and the tokens were then wrong or the request failed."""
    for tiny in (5e-324, 1e-45, 1e-10):
        assert GenerationRequest(prompt="x", temperature=tiny).sampling.temperature == 0
    assert GenerationRequest(prompt="x", temperature=0.01).sampling.temperature == 0.01


def test_a_huge_temperature_is_finite_as_float32() -> None:
    """Divided by infinity all logits are equal, so that top_k kept every token."""
    for huge in (1e39, 1e308, 10**300):
        temperature = GenerationRequest(prompt="x", temperature=huge).sampling.temperature
        assert np.isfinite(np.float32(temperature)) and np.float32(1e-6 / temperature) > 0


@pytest.mark.parametrize(("into", "out", "seconds"), [(0.1, 0.2, 0.3), (0.7, 0.1, 0.8)])
def test_fades_may_fill_the_clip(into: float, out: float, seconds: float) -> None:
    """0.1 + 0.2 is above 0.3 in binary fractions."""
    GenerationRequest(prompt="x", duration=seconds, fade_in=into, fade_out=out)
    parts = [{"prompt": "a", "duration": into}, {"prompt": "b", "duration": out}]
    GenerationRequest(sections=parts, fade_in=into, fade_out=out)


def test_the_edges_are_allowed() -> None:
    """Guards against "not seed": 0 is a seed. A temperature of 0 is greedy."""
    request = GenerationRequest(
        prompt="x",
        seed=0,
        temperature=0,
        top_p=1,
        top_k=0,
        classifier_free_guidance=1,
        duration=DURATION_MIN_SECONDS,
        continuation_end=-1,
    )
    assert request.seed == 0
    assert GenerationRequest(prompt="x", seed=SEED_MAX, duration=DURATION_MAX_SECONDS)


def test_an_empty_prompt_is_allowed_beside_audio() -> None:
    assert GenerationRequest(prompt="", input_audio=Path("clip.wav"), continuation=True)


def test_none_means_not_given() -> None:
    given = {field.name: None for field in fields(GenerationRequest)} | {"prompt": "x"}
    assert GenerationRequest.from_mapping(given) == GenerationRequest(prompt="x")


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in fields(GenerationRequest)] + ["other"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=20),
            st.sampled_from(OUTPUT_FORMATS),
            st.lists(st.integers(), max_size=2),
            st.lists(st.text(min_size=1, max_size=3), max_size=2),
            st.lists(st.fixed_dictionaries({"prompt": st.text(), "duration": st.floats()})),
        ),
    )
)
@example({"prompts": [], "variations": ""})
def test_any_payload_becomes_a_valid_request_or_a_typed_error(payload: dict[str, Any]) -> None:
    try:
        request = GenerationRequest.from_mapping(payload)
    except errors.InvalidRequest as error:
        assert error.code
        return
    assert DURATION_MIN_SECONDS <= request.duration <= DURATION_MAX_SECONDS
    assert all(text.strip() for text in request.texts) or request.sections or request.input_audio


def test_parts_may_be_json_where_a_platform_has_only_texts() -> None:
    lists = {"prompts": ["a", "b"]}, {"prompt": "x", "sections": PARTS}
    for given_as_list in lists:
        as_text = {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in given_as_list.items()
        }
        request = GenerationRequest.from_mapping(given_as_list)
        assert GenerationRequest.from_mapping(as_text) == request
    parts = GenerationRequest.from_mapping(lists[1]).sections or ()
    assert parse_sections(json.dumps([asdict(part) for part in parts])) == parts


def test_sections_are_the_duration() -> None:
    """Cog sends the default duration with them."""
    request = GenerationRequest.from_mapping({"prompt": "", "sections": PARTS, "duration": 8.0})
    assert request.duration == 4.0 == request.seconds
    assert GenerationRequest.from_mapping({"sections": PARTS, "duration": 4.0}) == request


@given(
    st.floats(0.1, 250),
    st.floats(BPM_MIN, BPM_MAX),
    st.integers(BEATS_MIN, BEATS_MAX),
)
def test_a_loop_is_the_nearest_number_of_bars(duration: float, bpm: float, beats: int) -> None:
    request = GenerationRequest(
        prompt="x", duration=duration, loop=True, bpm=bpm, beats_per_bar=beats
    )
    bar = 60 * beats / bpm
    bars = request.seconds / bar
    assert bars >= 0.999 and bars == pytest.approx(round(bars))
    assert abs(request.seconds - duration) <= max(bar / 2, bar - duration) + 1e-6
    assert request.seconds_to_generate > request.seconds


@given(st.integers(0, SEED_MAX), st.integers(0, 7))
def test_seeds_of_variations_stay_seeds(seed: int, index: int) -> None:
    """Guards against the seed -1 that wrapping by `% 2**32 - 1` gives."""
    assert 0 <= seed_of_variation(seed, index) <= SEED_MAX
    assert seed_of_variation(seed, 0) == seed
