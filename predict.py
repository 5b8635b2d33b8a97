"""MusicGen on Cog and Replicate: `run: "predict.py:Runner"` in cog.yaml.

The fields are those of replicate/cog-musicgen, so that its callers can switch, and `bit_depth`.
One prediction makes one clip, because they expect one file: for variations run it again with
`seed + 1`, which gives what `variations` gives elsewhere. MUSICGEN_DATA_DIR has no meaning here:
clips live in a folder of their own until the next prediction.

Cog reads the inputs from this text without running it. It silently drops a bound that is not a
plain number, and a description that is not one plain text: `tests/test_contract.py` holds all of
it to `musicgen.request`.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from tempfile import TemporaryDirectory

from cog import BaseRunner, Input, Path

from handlers.cog_run import CogRun
from musicgen.predictor import Predictor
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

PROMPT = "What the music is like. May be empty only if input_audio is given."
MODEL = "Left out: the model this deployment started with; another one is loaded in its place first. All but demo are Meta's weights, licensed CC-BY-NC-4.0: no commercial use. demo has random weights and makes noise. Melody models can follow input_audio; stereo models make two channels."  # noqa: E501
AUDIO = "With continuation: the music to continue. Without: the melody to follow (melody models)."
DURATION = "Seconds of audio to make. With continuation this counts the part that is continued."
CONTINUATION = "Continue input_audio; the result begins with the part that is continued."
START = "With continuation: where the part to continue begins, in seconds."
END = "With continuation: where the part to continue ends, in seconds; -1 is the clip's end."
STRATEGY = "How the level of the result is set."
TOP_K = "Sample from the k likeliest tokens; 0 switches this off."
TOP_P = "Sample from the likeliest tokens up to this probability together; 0 leaves it to top_k."
TEMPERATURE = "Higher is more varied; 0 always takes the likeliest token."
GUIDANCE = "How closely the prompt is followed; 1 switches guidance off, which is faster."
FORMAT = "The format of the file."
DEPTH = "Bits of a sample in wav and flac. float is 32-bit; flac then takes 24."
SEED = "Repeats a result on the same machine. Left out or -1: one is chosen, and told in the logs."


class Runner(BaseRunner):  # type: ignore[misc]
    """One loaded model in one of Cog's workers."""

    def setup(self) -> None:
        """Loads MUSICGEN_MODEL and runs it once, so that the first caller waits for neither."""
        settings = Settings.from_env()
        # Not sys.stderr: during a prediction Cog gives what is written there to the caller.
        logging.basicConfig(level=settings.log_level, stream=sys.__stderr__)
        self.outputs = TemporaryDirectory(prefix="musicgen-")
        folder = Path(self.outputs.name)
        predictor = Predictor.load(replace(settings, data_dir=folder))
        predictor.warm_up()
        self.predict_once = CogRun(predictor, folder)

    def run(
        self,
        prompt: str = Input(description=PROMPT, max_length=2000),
        model_version: str | None = Input(description=MODEL, choices=MODELS, default=None),
        duration: float = Input(description=DURATION, default=8.0, ge=0.1, le=30.0),
        input_audio: Path | None = Input(description=AUDIO, default=None),  # noqa: B008
        continuation: bool = Input(description=CONTINUATION, default=False),
        continuation_start: float = Input(description=START, default=0.0, ge=0.0),
        continuation_end: float = Input(description=END, default=-1.0, ge=-1.0),
        normalization_strategy: str = Input(
            description=STRATEGY, choices=STRATEGIES, default="loudness"
        ),
        top_k: int = Input(description=TOP_K, default=250, ge=0, le=2048),
        top_p: float = Input(description=TOP_P, default=0.0, ge=0.0, le=1.0),
        temperature: float = Input(description=TEMPERATURE, default=1.0, ge=0.0),
        classifier_free_guidance: float = Input(description=GUIDANCE, default=3.0, ge=1.0),
        output_format: str = Input(description=FORMAT, choices=FORMATS, default="wav"),
        bit_depth: str = Input(description=DEPTH, choices=DEPTHS, default="16"),
        seed: int | None = Input(description=SEED, default=None, ge=-1, le=4294967295),
    ) -> Path:
        """Makes one clip."""
        arguments = {
            "prompt": prompt,
            "model_version": model_version,
            "duration": duration,
            "input_audio": input_audio,
            "continuation": continuation,
            "continuation_start": continuation_start,
            "continuation_end": continuation_end,
            "normalization_strategy": normalization_strategy,
            "top_k": top_k,
            "top_p": top_p,
            "temperature": temperature,
            "classifier_free_guidance": classifier_free_guidance,
            "output_format": output_format,
            "bit_depth": bit_depth,
            "seed": seed,
        }
        return Path(self.predict_once(arguments, self.record_metric))
