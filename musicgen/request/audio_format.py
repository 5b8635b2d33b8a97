"""Format of an audio file, as one value. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class AudioFormat:
    """Container, bit depth, bitrate and sample rate of an audio file.

    `bitrate` is in kbit/s; None is the default of the container. `sample_rate` is in Hz; None is
    the rate of the model, to be filled in with `with_rate` before encoding.
    """

    output_format: str = "wav"
    bit_depth: str = "16"
    bitrate: int | None = None
    sample_rate: int | None = None

    @property
    def rate(self) -> int:
        """Sample rate in Hz. Raises: ValueError where none is set."""
        if self.sample_rate is None:
            raise ValueError("the audio format has no sample rate: use with_rate first")
        return self.sample_rate

    def with_rate(self, default: int) -> AudioFormat:
        """Return this format with a sample rate: its own, else `default` in Hz."""
        return replace(self, sample_rate=self.sample_rate or default)
