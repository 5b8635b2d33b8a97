"""Limits and defaults of request fields, as named constants."""

from __future__ import annotations

PROMPT_MAX_CHARACTERS = 2000
VARIATIONS_MAX = 8
"""Clips of one request: prompts times variations."""
SECTIONS_MAX = 32
SECTION_MIN_SECONDS = 0.1

DURATION_DEFAULT_SECONDS, DURATION_MIN_SECONDS, DURATION_MAX_SECONDS = 8.0, 0.1, 300.0
STRIDE_DEFAULT_SECONDS, STRIDE_MIN_SECONDS, STRIDE_MAX_SECONDS = 18.0, 1.0, 29.0
CONTINUATION_TO_THE_END = -1.0

INPUT_AUDIO_MAX_SECONDS = 3600.0
INPUT_AUDIO_MAX_CHANNELS = 8
"""7.1; audio of more channels is not music for listeners."""
INPUT_AUDIO_MIN_RATE, INPUT_AUDIO_MAX_RATE = 4_000, 384_000
"""Hz. A rate outside costs its resampler far more than any music needs."""

SEED_MAX = 2**32 - 1
RANDOM_SEED = -1
"""Asks for a random seed, as callers of MusicGen on Replicate do. 0 is an ordinary seed."""
TOP_K_DEFAULT, TOP_K_MAX = 250, 2048
GUIDANCE_DEFAULT, GUIDANCE_MAX = 3.0, 1000.0
"""More sounds no different, and the logits overflow at last."""
LEAST_TEMPERATURE = 1e-6
"""Lower ones act as 0: logits divided by them can overflow."""
GREATEST_TEMPERATURE = 1e30
"""Higher ones act as this one: they overflow as float32, and logits divided by them are equal."""
STYLE_MIN_SECONDS, STYLE_MAX_SECONDS = 1.5, 4.5
STYLE_MAX_DETAIL = 6
TEXT_GUIDANCE_MAX = 20.0

BPM_MIN, BPM_MAX = 30.0, 300.0
BEATS_DEFAULT, BEATS_MIN, BEATS_MAX = 4, 2, 12
FADE_MAX_SECONDS = 30.0
LOUDNESS_DEFAULT_LUFS, LOUDNESS_MIN_LUFS, LOUDNESS_MAX_LUFS = -14.0, -40.0, -5.0
TRUE_PEAK_DEFAULT_DBTP, TRUE_PEAK_MIN_DBTP, TRUE_PEAK_MAX_DBTP = -1.0, -12.0, -0.1
SEAM_SECONDS = 0.11
"""Extra music after the end of a loop, crossfaded into its beginning."""

ENCODEC, MULTI_BAND_DIFFUSION = "encodec", "multi_band_diffusion"
DECODERS = (ENCODEC, MULTI_BAND_DIFFUSION)
NORMALIZATION_STRATEGIES = ("loudness", "peak", "rms", "clip", "none")
OUTPUT_FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
FORMATS_WITH_BIT_DEPTH = ("wav", "flac")
FORMATS_WITH_BITRATE = ("mp3", "opus")
FORMATS_WITH_TOKENS = ("wav", "flac")
BIT_DEPTHS = ("16", "24", "float")
SAMPLE_RATES = (16_000, 32_000, 44_100, 48_000)
"""Hz."""
OPUS_SAMPLE_RATE = 48_000
BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
"""kbit/s, as in MPEG-1 layer III."""
MPEG_1_MIN_RATE, MPEG_2_BITRATES = 32_000, (8, 160)
"""Below this rate in Hz an mp3 is MPEG-2 layer III, with these lowest and highest bitrates."""
