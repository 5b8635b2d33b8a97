"""Reasons why a field of a request is refused, each with a stable code.

A reason is the problem of an `InvalidRequest`, an English phrase that follows the field's name.
Fields with an error of their own, such as `InvalidSeed`, need none. Those of a sound are in
`sound_reasons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from musicgen.errors.reasons import Reason

REQUEST_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "address_invalid": "is not a valid URL",
        "address_not_public": "leads to an address that is not public",
        "bitrate_format": "applies only to {formats} (output_format is {form})",
        "choice": "must be one of {choices}",
        "decoder_codec": "must be encodec for this model",
        "decoder_rate": "must be encodec for this model of {rate} Hz",
        "decoder_unavailable": "must be encodec on this server",
        "duration_with_sections": "must be left out with sections, which last {total:g} s",
        "edges_with_loop": "cannot be combined with trim_silence, fade_in or fade_out",
        "edges_with_tokens": "cannot be combined with loop or trim_silence",
        "end_before_start": "must be later than continuation_start ({start:g}), or -1 for the end",
        "engine_guidance": "must be at least 1 with the engine transformers",
        "engine_seconds": "must be at most {most:g} with the engine transformers",
        "fades_too_long": "and fade_in ({fade_out:g} + {fade_in:g} s) must not exceed the "
        "clip's {seconds:g} s",
        "loop_too_long": "must give a loop of at most {most:g} s",
        "missing": "is missing",
        "mp3_bitrate": "must be at most {most} for an mp3 of {rate} Hz",
        "needs_bpm": "needs bpm",
        "needs_engine": "needs the engine musicgen",
        "needs_guidance": "needs classifier_free_guidance above 1",
        "needs_loudness": "needs normalization_strategy loudness (it is {strategy})",
        "needs_prompt": "needs a prompt",
        "needs_sound": "needs input_audio",
        "needs_sound_to_continue": "needs input_audio, the clip to continue",
        "needs_style_sound": "needs input_audio, without continuation",
        "not_an_object": "must be a JSON object, sent with the header Content-Type: "
        "application/json",
        "not_your_upload": "is not one of your uploads",
        "number_between": "must be a number from {low:.12g} to {high:.12g}{rest}",
        "number_from": "must be a number of at least {low:.12g}{rest}",
        "number_to": "must be a number of at most {high:.12g}",
        "opus_rate": "must be {rate} or left out for opus",
        "peak_without_level": "cannot be combined with normalization_strategy none",
        "prompt_with_prompts": "cannot be combined with prompt",
        "sections_count": "must have 1 to {most:count entry entries}",
        "sections_too_long": "must last at most {most:g} s together",
        "sections_too_short": "must each last {least:g} s or more",
        "sections_with_continuation": "cannot be combined with continuation",
        "sections_with_loop": "cannot be combined with loop",
        "sections_with_prompts": "cannot be combined with prompts",
        "sound_fills_clip": "must be shorter than duration ({seconds:g} s), because duration "
        "includes it",
        "start_after_end": "must be before the end of the clip at {end:.2f} s",
        "style_range": "must be from {low:g} to {high:g} with this model",
        "style_too_short": "must have at least {least:g} s for its style (this part has "
        "{length:.2f} s)",
        "text_too_long": "must have at most {most:count character}",
        "tokens_continued": "cannot be combined with this clip to continue",
        "tokens_decoder": "needs decoder {needed} (it is {decoder})",
        "tokens_format": "needs output_format {formats} (it is {form})",
        "too_many_entries": "must have at most {most:count entry entries}",
        "too_many_prompts": "must have a number of entries from 1 to {most} when variations is "
        "{variations}",
        "unknown_name": "is not a field of this call",
        "web_address": "must be an http(s) URL of at most {most:count character}",
        "whole_between": "must be a whole number from {low:.12g} to {high:.12g}{rest}",
        "whole_from": "must be a whole number of at least {low:.12g}{rest}",
        "wrong_kind": "must be {kind}",
    }
)
"""English phrases by code. A value stands in braces."""


class RequestReason(Reason):
    """English phrase of a reason, with the `code` of its template and the `values` in it."""

    texts = REQUEST_REASONS
