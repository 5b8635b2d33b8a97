"""MusicGen on Cog and Replicate: `run: "predict.py:Runner"` in cog.yaml, or `StreamingRunner`.

The fields are those of replicate/cog-musicgen, so that its callers can switch, and those that it
lacks. One prediction makes one clip, because they expect one file: for variations run it again
with `seed + 1`, which gives what `variations` gives elsewhere. MUSICGEN_DATA_DIR has no meaning
here: clips live in a folder of their own, or in the bucket that MUSICGEN_BUCKET names.

`input_audio` is a text and not a `Path`, because Cog fetches the URL of a Path itself, from private
addresses too. The schema that is shipped (infra/replicate/openapi_schema.py) shows it as a file.

`Runner` decodes several predictions side by side where COG_MAX_CONCURRENCY says so.
`StreamingRunner` does one at a time: Cog passes on what an async generator yields only when it has
ended, and takes one prediction at a time for any other.

Cog reads the inputs from this text without running it. It silently drops a bound that is not a
plain number, and a description that is not one plain text: `tests/handlers/test_contract.py` holds
all of it to `musicgen.request`.
"""

from __future__ import annotations

# ruff: noqa: E402
from musicgen.process import startup

startup.begin()  # the weights are read while the rest is imported

import sys
from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

from cog import BaseRunner, Input, Path, streaming

from handlers.cog_run import CogRun
from handlers.cog_weights import model_in
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import Settings

MODELS = [
    "demo",
    "small",
    "medium",
    "large",
    "melody",
    "melody-large",
    "stereo-small",
    "stereo-medium",
    "stereo-large",
    "stereo-melody",
    "stereo-melody-large",
]
STRATEGIES = ["loudness", "peak", "rms", "clip", "none"]
FORMATS = ["wav", "flac", "mp3", "ogg", "opus"]
DEPTHS = ["16", "24", "float"]
RATES = [32000, 44100, 48000]
BITRATES = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]

PROMPT = "What the music is like. May be empty only if input_audio is given."
MODEL = "Left out: the model this deployment started with; another one is loaded in its place first. All but demo are Meta's weights, licensed CC-BY-NC-4.0: no commercial use. demo is a toy trained on synthetic music. Melody models can follow input_audio; stereo models make two channels."  # noqa: E501
AUDIO = "With continuation: the music to continue. Without: the melody to follow (melody models)."
NEGATIVE = "What the music should not be like. Needs guidance above 1."
SECTIONS = "One clip whose prompt changes, as JSON: a list of objects with prompt and duration. Each goes on from the one before; prompt stands before all of theirs, and their durations take the place of duration."  # noqa: E501
DURATION = "Seconds of audio to make. With continuation this counts the part that is continued."
STRIDE = "Over 30 s the music is made in windows of 30 s: how many seconds of each are new. Less lets the model hear more of what was before, and takes longer."  # noqa: E501
CONTINUATION = "Continue input_audio; the result begins with the part that is continued."
START = "With continuation: where the part to continue begins, in seconds."
END = "With continuation: where the part to continue ends, in seconds; -1 is the clip's end."
LOOP = "Make whole bars that go on into their own beginning without a seam. Needs bpm; duration is rounded to bars."  # noqa: E501
BPM = "Beats per minute of a loop, also told to the model."
BEATS = "Beats in a bar of a loop."
TRIM = "Cut silence off both ends; the clip may then be shorter than duration."
FADE_IN = "Seconds in which the beginning rises from silence."
FADE_OUT = "Seconds in which the end falls to silence."
STEADY = "Take slow drifts of the level out of music of over 30 s. Sections keep their levels."
STRATEGY = "How the level of the result is set."
LOUDNESS = "With the strategy loudness: the goal in LUFS."
TOP_K = "Sample from the k likeliest tokens; 0 switches this off."
TOP_P = "Sample from the likeliest tokens up to this probability together; 0 leaves it to top_k."
TEMPERATURE = "Higher is more varied; 0 always takes the likeliest token."
GUIDANCE = "How closely the prompt is followed; 1 switches guidance off, which is faster."
FORMAT = "The format of the file."
DEPTH = "Bits of a sample in wav and flac. float is 32-bit; flac then takes 24."
RATE = "In Hz. Left out: the model's own, 32000; opus always has 48000."
BITRATE = "Of mp3 and opus, in kbit/s. Left out: 320, or 96 for each channel of opus."
TOKENS = "Keep in a wav or flac what it was made of, so that continuing that file needs no second trip through the codec."  # noqa: E501
SEED = "Repeats a result on the same machine. Left out or -1: one is chosen, and told in the logs."


class _Loaded(BaseRunner):  # type: ignore[misc]
    """One loaded model in one of Cog's workers."""

    def setup(self, weights: str | None = None) -> None:
        """Loads COG_WEIGHTS or else MUSICGEN_MODEL, and runs it once, so that the first caller
        waits for neither."""
        settings = Settings.from_env()
        # Not sys.stderr: during a prediction Cog gives what is written there to the caller.
        start_logging(settings.log_level, sys.__stderr__, as_json=settings.logs_json)
        self.outputs = TemporaryDirectory(prefix="musicgen-outputs-")
        folder = Path(self.outputs.name)
        # Without a bucket the answer is one file, and what lies beside it is not sent.
        manifest = settings.manifest and settings.bucket.name is not None
        settings = replace(settings, data_dir=folder, manifest=manifest)
        if weights:
            self.weights = TemporaryDirectory(prefix="musicgen-weights-")
            model = model_in(weights, Path(self.weights.name), settings.input_networks)
            settings = replace(settings, model=model)
        predictor = Predictor.load(settings)
        predictor.warm_up()
        self.cog_run = CogRun(predictor, folder, settings.input_networks)
        startup.ready()

    def healthcheck(self) -> bool:
        """False once the device is lost to this process: the platform then starts another."""
        return self.cog_run.healthy


class Runner(_Loaded):
    """One prediction is one file."""

    async def run(
        self,
        prompt: str = Input(description=PROMPT, max_length=2000),
        model_version: str | None = Input(description=MODEL, choices=MODELS, default=None),
        negative_prompt: str = Input(description=NEGATIVE, default="", max_length=2000),
        sections: str | None = Input(description=SECTIONS, default=None),
        duration: float = Input(description=DURATION, default=8.0, ge=0.1, le=300.0),
        extend_stride: float = Input(description=STRIDE, default=18.0, ge=1.0, le=29.0),
        input_audio: str | None = Input(description=AUDIO, default=None),
        continuation: bool = Input(description=CONTINUATION, default=False),
        continuation_start: float = Input(description=START, default=0.0, ge=0.0),
        continuation_end: float = Input(description=END, default=-1.0, ge=-1.0),
        loop: bool = Input(description=LOOP, default=False),
        bpm: float | None = Input(description=BPM, default=None, ge=30.0, le=300.0),
        beats_per_bar: int = Input(description=BEATS, default=4, ge=2, le=12),
        trim_silence: bool = Input(description=TRIM, default=False),
        fade_in: float = Input(description=FADE_IN, default=0.0, ge=0.0, le=30.0),
        fade_out: float = Input(description=FADE_OUT, default=0.0, ge=0.0, le=30.0),
        steady_level: bool = Input(description=STEADY, default=True),
        normalization_strategy: str = Input(
            description=STRATEGY, choices=STRATEGIES, default="loudness"
        ),
        target_loudness: float = Input(description=LOUDNESS, default=-14.0, ge=-40.0, le=-5.0),
        top_k: int = Input(description=TOP_K, default=250, ge=0, le=2048),
        top_p: float = Input(description=TOP_P, default=0.0, ge=0.0, le=1.0),
        temperature: float = Input(description=TEMPERATURE, default=1.0, ge=0.0),
        classifier_free_guidance: float = Input(description=GUIDANCE, default=3.0, ge=1.0),
        output_format: str = Input(description=FORMAT, choices=FORMATS, default="wav"),
        bit_depth: str = Input(description=DEPTH, choices=DEPTHS, default="16"),
        sample_rate: int | None = Input(description=RATE, choices=RATES, default=None),
        bitrate: int | None = Input(description=BITRATE, choices=BITRATES, default=None),
        save_tokens: bool = Input(description=TOKENS, default=False),
        seed: int | None = Input(description=SEED, default=None, ge=-1, le=4294967295),
    ) -> Path:
        """Makes one clip."""
        return _output(await self.cog_run.one(_inputs(locals()), self.record_metric))


class StreamingRunner(_Loaded):
    """One prediction is a list of files: pieces that each play by themselves, sent while the clip
    is made, and at the end the whole clip, normalized, as `Runner` makes it."""

    @streaming  # type: ignore[untyped-decorator]
    def run(
        self,
        prompt: str = Input(description=PROMPT, max_length=2000),
        model_version: str | None = Input(description=MODEL, choices=MODELS, default=None),
        negative_prompt: str = Input(description=NEGATIVE, default="", max_length=2000),
        sections: str | None = Input(description=SECTIONS, default=None),
        duration: float = Input(description=DURATION, default=8.0, ge=0.1, le=300.0),
        extend_stride: float = Input(description=STRIDE, default=18.0, ge=1.0, le=29.0),
        input_audio: str | None = Input(description=AUDIO, default=None),
        continuation: bool = Input(description=CONTINUATION, default=False),
        continuation_start: float = Input(description=START, default=0.0, ge=0.0),
        continuation_end: float = Input(description=END, default=-1.0, ge=-1.0),
        loop: bool = Input(description=LOOP, default=False),
        bpm: float | None = Input(description=BPM, default=None, ge=30.0, le=300.0),
        beats_per_bar: int = Input(description=BEATS, default=4, ge=2, le=12),
        trim_silence: bool = Input(description=TRIM, default=False),
        fade_in: float = Input(description=FADE_IN, default=0.0, ge=0.0, le=30.0),
        fade_out: float = Input(description=FADE_OUT, default=0.0, ge=0.0, le=30.0),
        steady_level: bool = Input(description=STEADY, default=True),
        normalization_strategy: str = Input(
            description=STRATEGY, choices=STRATEGIES, default="loudness"
        ),
        target_loudness: float = Input(description=LOUDNESS, default=-14.0, ge=-40.0, le=-5.0),
        top_k: int = Input(description=TOP_K, default=250, ge=0, le=2048),
        top_p: float = Input(description=TOP_P, default=0.0, ge=0.0, le=1.0),
        temperature: float = Input(description=TEMPERATURE, default=1.0, ge=0.0),
        classifier_free_guidance: float = Input(description=GUIDANCE, default=3.0, ge=1.0),
        output_format: str = Input(description=FORMAT, choices=FORMATS, default="wav"),
        bit_depth: str = Input(description=DEPTH, choices=DEPTHS, default="16"),
        sample_rate: int | None = Input(description=RATE, choices=RATES, default=None),
        bitrate: int | None = Input(description=BITRATE, choices=BITRATES, default=None),
        save_tokens: bool = Input(description=TOKENS, default=False),
        seed: int | None = Input(description=SEED, default=None, ge=-1, le=4294967295),
    ) -> Iterator[Path]:
        """Makes one clip, in wav, mp3 or ogg."""
        for address in self.cog_run.pieces(_inputs(locals()), self.record_metric):
            yield _output(address)


def _inputs(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name != "self"}


def _output(address: str) -> Path:
    """Cog sends the file of a Path, and a text as it is: a URL must not be made a Path of."""
    return Path(address) if address.startswith("/") else address
