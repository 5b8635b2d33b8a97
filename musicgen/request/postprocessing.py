"""What is done to the music when it has been made, and how long it must be made for that.

`musicgen.audio.postprocess` does it. This module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.errors import InvalidRequest
from musicgen.request.validation import check_bool, check_integer, check_number

LOUDNESS_DEFAULT_LUFS, LOUDNESS_MIN_LUFS, LOUDNESS_MAX_LUFS = -14.0, -40.0, -5.0
SAMPLE_RATES = (32_000, 44_100, 48_000)
BPM_MIN, BPM_MAX = 30.0, 300.0
BEATS_DEFAULT, BEATS_MIN, BEATS_MAX = 4, 2, 12
FADE_MAX_SECONDS = 30.0
SEAM_SECONDS = 0.11
"""Of music behind the end of a loop, to be faded into its beginning."""
BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
"""kbit/s, of MPEG-1 layer III."""
WITH_BITRATE = ("mp3", "opus")
WITH_TOKENS = ("wav", "flac")


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The last part of a request; constructing it checks it. `duration` is that of the request, in
    seconds.

    `loop` makes a clip of whole bars, `beats_per_bar` beats at `bpm`, that goes on into itself.
    `trim_silence` cuts silence off both ends, `fade_in` and `fade_out` are seconds. `steady_level`
    takes slow drifts of the level out of a clip of over 30 s. `target_loudness` is the goal of the
    strategy "loudness" in LUFS. `sample_rate` (Hz) and `bitrate` (kbit/s) None leave it to the
    model and to the format. With `save_tokens` the file carries what it was made of, to be
    continued from there.

    Raises: `InvalidRequest`, also for what does not go together.
    """

    duration: float
    normalization_strategy: str = "loudness"
    output_format: str = "wav"
    loop: bool = False
    bpm: float | None = None
    beats_per_bar: int = BEATS_DEFAULT
    trim_silence: bool = False
    fade_in: float = 0.0
    fade_out: float = 0.0
    steady_level: bool = True
    target_loudness: float = LOUDNESS_DEFAULT_LUFS
    sample_rate: int | None = None
    bitrate: int | None = None
    save_tokens: bool = False

    def __post_init__(self) -> None:
        for name in ("loop", "trim_silence", "steady_level", "save_tokens"):
            check_bool(name, getattr(self, name))
        self._check_loop()
        for name in ("fade_in", "fade_out"):
            check_number(
                name,
                getattr(self, name),
                InvalidRequest,
                low=0.0,
                high=FADE_MAX_SECONDS,
                unit=" seconds",
            )
        if self.fade_in + self.fade_out > self.duration:
            raise InvalidRequest(
                "fade_out", self.fade_out, f"both fades fit into the {self.duration:g} s of music"
            )
        self._check_level()
        self._check_file()

    @property
    def seconds(self) -> float:
        """Of the finished clip, but for silence that is trimmed: of a loop whole bars."""
        if not self.loop or self.bpm is None:
            return self.duration
        bar = 60.0 * self.beats_per_bar / self.bpm
        return bar * max(1, round(self.duration / bar))

    @property
    def seconds_made(self) -> float:
        """What the model has to make for it."""
        return self.seconds + (SEAM_SECONDS if self.loop else 0.0)

    def _check_loop(self) -> None:
        check_integer("beats_per_bar", self.beats_per_bar, InvalidRequest, BEATS_MIN, BEATS_MAX)
        if self.bpm is not None:
            check_number("bpm", self.bpm, InvalidRequest, low=BPM_MIN, high=BPM_MAX)
        if self.loop and self.bpm is None:
            raise InvalidRequest("loop", True, "give bpm too: a loop is cut at its bars")
        if self.loop and (self.trim_silence or self.fade_in or self.fade_out):
            raise InvalidRequest(
                "loop", True, "without trim_silence and fades, which would be heard in each round"
            )

    def _check_level(self) -> None:
        check_number(
            "target_loudness",
            self.target_loudness,
            InvalidRequest,
            low=LOUDNESS_MIN_LUFS,
            high=LOUDNESS_MAX_LUFS,
            unit=" LUFS",
        )
        if (
            self.target_loudness != LOUDNESS_DEFAULT_LUFS
            and self.normalization_strategy != "loudness"
        ):
            raise InvalidRequest(
                "target_loudness",
                self.target_loudness,
                f"with normalization_strategy=loudness, not {self.normalization_strategy}",
            )

    def _check_file(self) -> None:
        rate = self.sample_rate
        if rate is not None and (isinstance(rate, bool) or rate not in SAMPLE_RATES):
            raise InvalidRequest("sample_rate", rate, _one_of(SAMPLE_RATES))
        if rate not in (None, 48_000) and self.output_format == "opus":
            raise InvalidRequest("sample_rate", rate, "48000 or left out: opus has no other")
        if self.save_tokens and self.output_format not in WITH_TOKENS:
            raise InvalidRequest("save_tokens", True, f"with {' or '.join(WITH_TOKENS)}")
        if self.save_tokens and (self.loop or self.trim_silence):
            raise InvalidRequest("save_tokens", True, "without loop and trim_silence, which cut")
        if self.bitrate is None:
            return
        if self.output_format not in WITH_BITRATE:
            raise InvalidRequest(
                "bitrate", self.bitrate, f"left out but for {' and '.join(WITH_BITRATE)}"
            )
        if isinstance(self.bitrate, bool) or self.bitrate not in BITRATES:
            raise InvalidRequest("bitrate", self.bitrate, f"{_one_of(BITRATES)} kbit/s")


def _one_of(values: tuple[int, ...]) -> str:
    return f"one of {', '.join(map(str, values))}"
