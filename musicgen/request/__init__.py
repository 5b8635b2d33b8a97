"""What a caller asks for, validated in one place. Imports no torch."""

from musicgen.request.audio_format import AudioFormat
from musicgen.request.request import (
    GenerationRequest,
    SamplingParams,
    StreamForm,
    seed_of_variation,
)
from musicgen.request.sections import Section
from musicgen.request.table import request_fields

__all__ = [
    "AudioFormat",
    "GenerationRequest",
    "SamplingParams",
    "Section",
    "StreamForm",
    "request_fields",
    "seed_of_variation",
]
