"""Request fields about the finished clip: loop, fades, level and file. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.errors import InvalidBitDepth, UnknownFormat, UnknownStrategy
from musicgen.request import fields, limits


@dataclass(frozen=True, kw_only=True)
class OutputFields:
    """What is done to the generated music, and the file's format."""

    loop: bool = fields.declare(
        "boolean",
        False,
        help="Make whole bars that repeat without a seam; duration is rounded to bars.",
        label="Make a loop",
        group="Loop",
        example={"prompt": "techno groove", "duration": 8, "loop": True, "bpm": 126},
        needs="bpm",
        option="--loop",
    )
    bpm: float | None = fields.declare(
        "number",
        help="Tempo in beats per minute, added to the prompt and written into the file.",
        label="Beats per minute",
        group="Loop",
        example={"prompt": "techno groove", "loop": True, "bpm": 126},
        low=limits.BPM_MIN,
        high=limits.BPM_MAX,
        option="--bpm",
        metavar="N",
    )
    beats_per_bar: int = fields.declare(
        "integer",
        limits.BEATS_DEFAULT,
        help="Beats in each bar, for the length of a loop and the meter in the file.",
        label="Beats per bar",
        group="Loop",
        example={"prompt": "waltz", "loop": True, "bpm": 90, "beats_per_bar": 3},
        low=limits.BEATS_MIN,
        high=limits.BEATS_MAX,
        option="--beats-per-bar",
        metavar="N",
    )
    trim_silence: bool = fields.declare(
        "boolean",
        False,
        help="Cut silence at both ends; the clip may become shorter than duration.",
        label="Cut silence at both ends",
        group="Finish",
        example={"prompt": "solo flute", "trim_silence": True},
        option="--trim-silence",
    )
    fade_in: float = fields.declare(
        "number",
        0.0,
        help="Length of the fade-in.",
        label="Fade in, seconds",
        group="Finish",
        example={"prompt": "solo flute", "fade_in": 0.5},
        low=0.0,
        high=limits.FADE_MAX_SECONDS,
        unit="seconds",
        option="--fade-in",
        metavar="S",
    )
    fade_out: float = fields.declare(
        "number",
        0.0,
        help="Length of the fade-out.",
        label="Fade out, seconds",
        group="Finish",
        example={"prompt": "solo flute", "fade_out": 3},
        low=0.0,
        high=limits.FADE_MAX_SECONDS,
        unit="seconds",
        option="--fade-out",
        metavar="S",
    )
    steady_level: bool = fields.declare(
        "boolean",
        True,
        help="Remove slow drifts of loudness from clips over 30 s. Sections keep their levels.",
        label="Keep the level of long music steady",
        group="Finish",
        example={"prompt": "slow ambient pads", "duration": 120, "steady_level": False},
        option="--no-steady-level",
    )
    normalization_strategy: str = fields.declare(
        "choice",
        "loudness",
        choices=limits.NORMALIZATION_STRATEGIES,
        help="Method of setting the level.",
        label="Level by",
        group="Finish",
        example={"prompt": "solo flute", "normalization_strategy": "peak"},
        error=UnknownStrategy,
        option="--normalization",
        metavar="STRATEGY",
    )
    target_loudness: float = fields.declare(
        "number",
        limits.LOUDNESS_DEFAULT_LUFS,
        help="Loudness to reach.",
        label="Loudness, LUFS",
        group="Finish",
        example={"prompt": "solo flute", "target_loudness": -16},
        low=limits.LOUDNESS_MIN_LUFS,
        high=limits.LOUDNESS_MAX_LUFS,
        unit="LUFS",
        needs="normalization_strategy loudness",
        option="--target-loudness",
        metavar="LUFS",
    )
    true_peak_ceiling: float = fields.declare(
        "number",
        limits.TRUE_PEAK_DEFAULT_DBTP,
        help="Highest peak of the waveform, also between the samples. A limiter keeps it.",
        label="Highest peak, dBTP",
        group="Finish",
        example={"prompt": "solo flute", "true_peak_ceiling": -2},
        low=limits.TRUE_PEAK_MIN_DBTP,
        high=limits.TRUE_PEAK_MAX_DBTP,
        unit="dBTP",
        needs="normalization_strategy other than none",
        option="--true-peak-ceiling",
        metavar="DBTP",
    )
    output_format: str = fields.declare(
        "choice",
        "wav",
        choices=limits.OUTPUT_FORMATS,
        help="File format.",
        label="Format",
        group="File",
        example={"prompt": "solo flute", "output_format": "mp3"},
        error=UnknownFormat,
        option="--format",
        metavar="FORMAT",
    )
    bit_depth: str = fields.declare(
        "choice",
        "16",
        choices=limits.BIT_DEPTHS,
        help="Bits per sample of wav and flac. float is 32-bit; flac then uses 24.",
        label="Bit depth",
        group="File",
        example={"prompt": "solo flute", "bit_depth": "24"},
        error=InvalidBitDepth,
        option="--bit-depth",
        metavar="BITS",
    )
    sample_rate: int | None = fields.declare(
        "choice",
        choices=limits.SAMPLE_RATES,
        help="Sample rate; by default the model's own, 32000 or 16000. opus always has 48000.",
        label="Sample rate, Hz",
        group="File",
        example={"prompt": "solo flute", "sample_rate": 48_000},
        unit="Hz",
        option="--sample-rate",
        metavar="HZ",
    )
    bitrate: int | None = fields.declare(
        "choice",
        choices=limits.BITRATES,
        help="Bitrate of mp3 and opus; by default 320, or 96 for each channel of opus. mp3 below "
        "32000 Hz has at most 160.",
        label="Bitrate, kbit/s",
        group="File",
        example={"prompt": "solo flute", "output_format": "mp3", "bitrate": 128},
        unit="kbit/s",
        needs="output_format mp3 or opus",
        option="--bitrate",
        metavar="KBIT",
    )
    save_tokens: bool = fields.declare(
        "boolean",
        False,
        help="Embed the model's tokens in the file, so that continuing it skips the encoder.",
        label="Embed tokens for continuation",
        group="File",
        example={"prompt": "solo flute", "save_tokens": True},
        needs="output_format wav or flac",
        option="--save-tokens",
    )
    stems: bool = fields.declare(
        "boolean",
        False,
        help="Also make a file of each instrument group: drums, bass, vocals and the rest.",
        label="Stems: drums, bass, vocals and the rest",
        group="File",
        example={"prompt": "funk with a slap bass", "stems": True},
        option="--stems",
        on_cog=False,
    )
    midi: bool = fields.declare(
        "boolean",
        False,
        help="Also write the notes of each clip as a MIDI file. Drums have no notes.",
        label="Notes as MIDI",
        group="File",
        example={"prompt": "slow bells", "midi": True},
        option="--midi",
        on_cog=False,
    )
