"""Errors of a request, for its caller to correct."""

from __future__ import annotations

from collections.abc import Iterable

from musicgen.errors.base import OMITTED, MusicGenError, find_nearest, show_name, show_value


class InvalidRequest(MusicGenError):
    """One field of a request holds a value that is not allowed.

    Attributes: `field`, `problem` (a phrase that follows the field's name: "must be ...", "needs
    bpm"), `value`, as given, or `OMITTED` where it is not the trouble, and `advice`: sentences.
    """

    code = "invalid_request"

    def __init__(
        self, field: str, problem: str, *, value: object = OMITTED, advice: str = ""
    ) -> None:
        field = show_name(field)
        was = "" if value is OMITTED else f" (was {show_value(value)})"
        super().__init__(f"{field} {problem}{was}.{f' {advice}' if advice else ''}")
        self.field = field
        self.value = value
        self.problem = problem
        self.advice = advice

    @classmethod
    def for_choice(
        cls, field: str, value: object, choices: Iterable[str], *, others: Iterable[str] = ()
    ) -> InvalidRequest:
        """Return the error of a value that is none of `choices`, with the nearest one.

        `others` describe further values, such as "a folder"; none of them is suggested.
        """
        names = list(choices)
        nearest = find_nearest(value, names)
        advice = f"Did you mean {nearest}?" if nearest else ""
        allowed = ", ".join([*names, *others])
        return cls(field, f"must be one of {allowed}", value=value, advice=advice)


class UnknownField(InvalidRequest):
    """A field of the payload is not a field of a request."""

    code = "unknown_field"

    def __init__(self, field: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = find_nearest(show_name(field), names)
        question = f"Did you mean {nearest}? " if nearest else ""
        advice = f"{question}The fields are {', '.join(names)}."
        super().__init__(field, "is not a field of a request", advice=advice)


class EmptyPrompt(InvalidRequest):
    """The prompt is empty and there is no input audio."""

    code = "empty_prompt"


class PromptTooLong(InvalidRequest):
    """A prompt has too many characters."""

    code = "prompt_too_long"


class InvalidDuration(InvalidRequest):
    """The duration is out of limits."""

    code = "invalid_duration"


class InvalidSeed(InvalidRequest):
    """The seed is out of limits."""

    code = "invalid_seed"


class InvalidVariations(InvalidRequest):
    """The number of variations is out of limits."""

    code = "invalid_variations"


class InvalidTopK(InvalidRequest):
    """top_k is out of limits."""

    code = "invalid_top_k"


class InvalidTopP(InvalidRequest):
    """top_p is out of limits."""

    code = "invalid_top_p"


class InvalidTemperature(InvalidRequest):
    """The temperature is negative or not a number."""

    code = "invalid_temperature"


class InvalidGuidance(InvalidRequest):
    """The guidance scale is out of limits."""

    code = "invalid_guidance"


class InvalidContinuation(InvalidRequest):
    """A continuation lacks its clip, or its start and end contradict each other."""

    code = "invalid_continuation"


class InvalidInputAudio(InvalidRequest):
    """The input audio cannot be used."""

    code = "invalid_input_audio"


class InputAudioRefused(InvalidInputAudio):
    """The input audio is at a forbidden address."""

    code = "input_audio_refused"


class InputAudioUnreachable(InvalidInputAudio):
    """The URL of the input audio gave no file in time."""

    code = "input_audio_unreachable"


class InputAudioTooLarge(InvalidInputAudio):
    """The input audio has too many bytes."""

    code = "input_audio_too_large"


class InvalidBitDepth(InvalidRequest):
    """The bit depth is unknown."""

    code = "invalid_bit_depth"


class UnknownModel(InvalidRequest):
    """No model has this name."""

    code = "unknown_model"


class ModelUnavailable(UnknownModel):
    """No worker can load this model at present. `available`: names of those that can be had."""

    code = "model_unavailable"

    def __init__(self, field: str, value: str, available: Iterable[str]) -> None:
        names = ", ".join(sorted(available))
        super().__init__(
            field,
            "must be a model that a worker here can load",
            value=value,
            advice=f"These can be loaded: {names}. Others need their files on a worker's machine, "
            "or a connection from there to the Hugging Face hub.",
        )


class PartUnavailable(InvalidRequest):
    """Stems, notes or a decoder need packages or weights that are missing.

    `advice`: how to get them.
    """

    code = "part_unavailable"

    def __init__(self, field: str, advice: str) -> None:
        problem = "must be encodec here" if field == "decoder" else "cannot be made here"
        super().__init__(field, problem, advice=advice)


class UnknownFormat(InvalidRequest):
    """No output format has this name."""

    code = "unknown_format"


class UnknownStrategy(InvalidRequest):
    """No normalization strategy has this name."""

    code = "unknown_strategy"
