"""Rules that concern several fields of a request, each with a sentence of its own.

Imports no torch.
"""

from __future__ import annotations

from musicgen.errors import (
    EmptyPrompt,
    InvalidContinuation,
    InvalidDuration,
    InvalidRequest,
    PromptTooLong,
)
from musicgen.errors.request_reasons import RequestReason
from musicgen.request.limits import (
    CONTINUATION_TO_THE_END,
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    ENCODEC,
    FORMATS_WITH_BITRATE,
    FORMATS_WITH_TOKENS,
    LOUDNESS_DEFAULT_LUFS,
    MPEG_1_MIN_RATE,
    MPEG_2_BITRATES,
    OPUS_SAMPLE_RATE,
    PROMPT_MAX_CHARACTERS,
    SEAM_SECONDS,
    TRUE_PEAK_DEFAULT_DBTP,
    VARIATIONS_MAX,
)
from musicgen.request.table import RequestFields

STYLE_FIELDS = ("style_seconds", "style_detail", "text_guidance")
"""Fields that only style models have."""


def check_rules(request: RequestFields) -> float:
    """Check what concerns several fields; return the duration in seconds.

    With `sections` that is the sum of theirs. Raises: a subclass of `InvalidRequest`.
    """
    duration = request.duration
    if request.sections is not None:
        duration = _check_sections(request)
    elif request.prompts is not None:
        _check_prompts(request)
    else:
        _check_is_given("prompt", request.prompt, request)
    _check_sampling(request)
    _check_input_audio(request)
    _check_style(request)
    _check_loop(request)
    _check_finish(request, duration)
    _check_file(request)
    return duration


def seconds_of(request: RequestFields) -> float:
    """Return the length of a finished clip before silence is cut: whole bars for a loop."""
    if not request.loop or request.bpm is None:
        return request.duration
    bar = 60.0 * request.beats_per_bar / request.bpm
    return bar * max(1, round(request.duration / bar))


def seconds_to_generate(request: RequestFields) -> float:
    """Return the length of the music that the model generates for one clip."""
    return seconds_of(request) + (SEAM_SECONDS if request.loop else 0.0)


def _check_prompts(request: RequestFields) -> None:
    prompts = request.prompts or ()
    if request.prompt.strip():
        raise InvalidRequest("prompts", RequestReason("prompt_with_prompts"))
    most = VARIATIONS_MAX // request.variations
    if not 1 <= len(prompts) <= most:
        problem = RequestReason("too_many_prompts", most=most, variations=request.variations)
        raise InvalidRequest("prompts", problem, value=len(prompts))
    for text in prompts:
        _check_length("prompts", text)
        _check_is_given("prompts", text, request)


def _check_sections(request: RequestFields) -> float:
    sections = request.sections or ()
    if request.prompts:
        raise InvalidRequest("sections", RequestReason("sections_with_prompts"))
    if request.continuation:
        raise InvalidRequest("sections", RequestReason("sections_with_continuation"))
    if request.loop:
        raise InvalidRequest("sections", RequestReason("sections_with_loop"))
    for section in sections:
        text = f"{request.prompt} {section.prompt}"
        _check_length("sections", text)
        _check_is_given("sections", text, request)
    total = round(sum(section.duration for section in sections), 6)
    if request.duration not in (DURATION_DEFAULT_SECONDS, total):
        problem = RequestReason("duration_with_sections", total=total)
        raise InvalidDuration("duration", problem, value=request.duration)
    if total > DURATION_MAX_SECONDS:
        problem = RequestReason("sections_too_long", most=DURATION_MAX_SECONDS)
        raise InvalidDuration("sections", problem, value=total)
    return total


def _check_length(field: str, text: str) -> None:
    if len(text) > PROMPT_MAX_CHARACTERS:
        problem = f"must have at most {PROMPT_MAX_CHARACTERS} characters each, with prompt"
        raise PromptTooLong(field, problem, value=text)


def _check_is_given(field: str, text: str, request: RequestFields) -> None:
    if not text.strip() and request.input_audio is None:
        advice = "Describe the music, or give input_audio."
        raise EmptyPrompt(field, "must not be empty", advice=advice)


def _check_sampling(request: RequestFields) -> None:
    if request.negative_prompt.strip() and request.classifier_free_guidance <= 1:
        raise InvalidRequest("negative_prompt", RequestReason("needs_guidance"))


def _check_input_audio(request: RequestFields) -> None:
    start, end = request.continuation_start, request.continuation_end
    if end != CONTINUATION_TO_THE_END and end <= start:
        problem = RequestReason("end_before_start", start=start)
        raise InvalidContinuation("continuation_end", problem, value=end)
    if request.input_audio is None and (start, end) != (0, CONTINUATION_TO_THE_END):
        name = "continuation_start" if start else "continuation_end"
        raise InvalidContinuation(name, RequestReason("needs_sound"))
    if request.continuation and request.input_audio is None:
        raise InvalidContinuation("continuation", RequestReason("needs_sound_to_continue"))


def _check_style(request: RequestFields) -> None:
    given = [name for name in STYLE_FIELDS if getattr(request, name) is not None]
    if given and (request.input_audio is None or request.continuation):
        raise InvalidRequest(given[0], RequestReason("needs_style_sound"))
    if request.text_guidance is not None and request.classifier_free_guidance <= 1:
        raise InvalidRequest("text_guidance", RequestReason("needs_guidance"))
    texts = request.prompts or (request.prompt,)
    has_prompt = request.sections is not None or any(text.strip() for text in texts)
    if request.text_guidance is not None and not has_prompt:
        raise InvalidRequest("text_guidance", RequestReason("needs_prompt"))


def _check_loop(request: RequestFields) -> None:
    if request.loop and request.bpm is None:
        raise InvalidRequest("loop", RequestReason("needs_bpm"))
    if request.loop and (request.trim_silence or request.fade_in or request.fade_out):
        raise InvalidRequest("loop", RequestReason("edges_with_loop"))
    seconds = seconds_to_generate(request)
    if request.loop and seconds > DURATION_MAX_SECONDS:
        problem = RequestReason("loop_too_long", most=DURATION_MAX_SECONDS)
        advice = f"Rounded to whole bars, this one has {seconds:g} s."
        raise InvalidDuration("duration", problem, value=request.duration, advice=advice)


def _check_finish(request: RequestFields, duration: float) -> None:
    # A rounding error of the sum must not count.
    if round(request.fade_in + request.fade_out, 6) > duration:
        fades = {"fade_out": request.fade_out, "fade_in": request.fade_in}
        raise InvalidRequest("fade_out", RequestReason("fades_too_long", **fades, seconds=duration))
    strategy = request.normalization_strategy
    if request.target_loudness != LOUDNESS_DEFAULT_LUFS and strategy != "loudness":
        problem = RequestReason("needs_loudness", strategy=strategy)
        raise InvalidRequest("target_loudness", problem)
    if request.true_peak_ceiling != TRUE_PEAK_DEFAULT_DBTP and strategy == "none":
        raise InvalidRequest("true_peak_ceiling", RequestReason("peak_without_level"))


def _check_file(request: RequestFields) -> None:
    form = request.output_format
    if request.sample_rate not in (None, OPUS_SAMPLE_RATE) and form == "opus":
        problem = RequestReason("opus_rate", rate=OPUS_SAMPLE_RATE)
        raise InvalidRequest("sample_rate", problem, value=request.sample_rate)
    if request.save_tokens and form not in FORMATS_WITH_TOKENS:
        formats = " or ".join(FORMATS_WITH_TOKENS)
        problem = RequestReason("tokens_format", formats=formats, form=form)
        raise InvalidRequest("save_tokens", problem)
    if request.save_tokens and (request.loop or request.trim_silence):
        raise InvalidRequest("save_tokens", RequestReason("edges_with_tokens"))
    if request.save_tokens and request.decoder != ENCODEC:
        problem = RequestReason("tokens_decoder", needed=ENCODEC, decoder=request.decoder)
        raise InvalidRequest("save_tokens", problem)
    if request.bitrate is not None and form not in FORMATS_WITH_BITRATE:
        formats = " and ".join(FORMATS_WITH_BITRATE)
        problem = RequestReason("bitrate_format", formats=formats, form=form)
        raise InvalidRequest("bitrate", problem)
    if request.sample_rate is not None:
        check_bitrate(form, request.bitrate, request.sample_rate)


def check_bitrate(output_format: str, bitrate: int | None, sample_rate: int) -> None:
    """Refuse a bitrate that an mp3 cannot have at its sample rate. Raises: `InvalidRequest`."""
    highest = MPEG_2_BITRATES[1]
    if output_format != "mp3" or bitrate is None or sample_rate >= MPEG_1_MIN_RATE:
        return
    if bitrate > highest:
        problem = RequestReason("mp3_bitrate", most=highest, rate=sample_rate)
        advice = f"Choose a sample_rate of {MPEG_1_MIN_RATE} or more for higher ones."
        raise InvalidRequest("bitrate", problem, value=bitrate, advice=advice)
