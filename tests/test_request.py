"""One validation for every platform: what is refused, how, and what is let through."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen import errors
from musicgen.request import (
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    NORMALIZATION_STRATEGIES,
    OUTPUT_FORMATS,
    PROMPT_MAX_CHARACTERS,
    SEED_MAX,
    GenerationRequest,
    seed_of_variation,
)

NAN = float("nan")
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
    *[(errors.InvalidSeed, {"seed": value}) for value in (-2, -1.0, SEED_MAX + 1, 1.0, "7", True)],
    *[(errors.InvalidVariations, {"variations": value}) for value in (0, 9, 1.5, True)],
    (errors.InvalidTopK, {"top_k": 0}),
    (errors.InvalidTopK, {"top_k": 0, "top_p": 0.0}),
    *[(errors.InvalidTopK, {"top_k": value}) for value in (-1, 2049, 2.5)],
    *[(errors.InvalidTopP, {"top_p": value}) for value in (-0.1, 1.1, NAN)],
    *[(errors.InvalidTemperature, {"temperature": value}) for value in (-1, NAN, float("inf"))],
    *[(errors.InvalidGuidance, {"classifier_free_guidance": v}) for v in (0.9, 0, -3, NAN)],
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
    assert raised.value.allowed in str(raised.value)
    if payload:
        assert repr(raised.value.value)[:80] in str(raised.value)


def test_unknown_names_list_the_choices_and_the_nearest() -> None:
    with pytest.raises(errors.UnknownFormat, match=r"wav, flac, mp3, ogg, opus.*'flac'"):
        GenerationRequest(prompt="x", output_format="falc")
    with pytest.raises(errors.UnknownStrategy) as strategy:
        GenerationRequest(prompt="x", normalization_strategy="RMS")
    assert all(name in str(strategy.value) for name in NORMALIZATION_STRATEGIES)
    with pytest.raises(errors.UnknownField, match="did you mean 'temperature'"):
        GenerationRequest.from_mapping({"prompt": "x", "temprature": 1})


def test_a_huge_value_does_not_make_a_huge_error() -> None:
    with pytest.raises(errors.PromptTooLong) as raised:
        GenerationRequest(prompt="x" * 10_000_000)
    assert len(str(raised.value)) < 300


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
        ),
    )
)
def test_any_payload_becomes_a_valid_request_or_a_typed_error(payload: dict[str, Any]) -> None:
    try:
        request = GenerationRequest.from_mapping(payload)
    except errors.InvalidRequest as error:
        assert error.code
        return
    assert DURATION_MIN_SECONDS <= request.duration <= DURATION_MAX_SECONDS
    assert request.prompt.strip() or request.input_audio


@given(st.integers(0, SEED_MAX), st.integers(0, 7))
def test_seeds_of_variations_stay_seeds(seed: int, index: int) -> None:
    """Guards against the seed -1 that wrapping by `% 2**32 - 1` gives."""
    assert 0 <= seed_of_variation(seed, index) <= SEED_MAX
    assert seed_of_variation(seed, 0) == seed
