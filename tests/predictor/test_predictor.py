"""The predictor end to end on real files, with the embedded demo checkpoint."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from handlers.serving import Serving
from musicgen import errors
from musicgen.audio.tags import read_tags
from musicgen.checkpoints.locate import Source
from musicgen.engine import loading
from musicgen.model.musicgen import MusicGen
from musicgen.predictor import Predictor
from musicgen.predictor import predictor as predictor_module
from musicgen.request import GenerationRequest
from musicgen.request.limits import GUIDANCE_MAX, LEAST_TEMPERATURE, OUTPUT_FORMATS
from musicgen.settings import Settings
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage
from tests.support.checkpoints import truncate


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(Settings(threads=1, data_dir=tmp_path_factory.mktemp("clips")))


def _request(**fields: object) -> GenerationRequest:
    return GenerationRequest(**{"prompt": "slow calm piano", "duration": 0.5, "seed": 7} | fields)


def test_a_result_says_what_was_made_and_how(demo: Predictor) -> None:
    result = demo.generate(_request(), job_id="job-1")
    (clip,) = result.clips
    data = Path(clip.address).read_bytes()
    assert "job-1" in clip.address
    assert clip.sha256 == hashlib.sha256(data).hexdigest() and clip.bytes == len(data)
    assert (clip.samples, clip.sample_rate, clip.channels, clip.seed) == (16000, 32000, 1, 7)
    assert (result.model, result.licence, result.engine) == ("demo", "Apache-2.0", "musicgen")
    assert (result.device, result.precision, result.steps) == ("cpu", "int8", 28)
    timings = result.timings
    assert min(timings.text, timings.decode, timings.codec, timings.finish, timings.store) > 0
    assert result.real_time_factor == pytest.approx(timings.total / 0.5)
    assert json.loads(json.dumps(result.to_mapping()))["clips"][0]["sha256"] == clip.sha256
    assert any("toy" in note for note in result.notes)


def test_the_file_carries_its_tags(demo: Predictor) -> None:
    clip = demo.generate(_request()).clips[0]
    tags = read_tags(Path(clip.address))
    assert tags is not None
    assert (tags.prompt, tags.seed, tags.model) == ("slow calm piano", 7, "demo")
    assert tags.licence == "Apache-2.0"


@pytest.mark.parametrize("duration", [0.1, 0.333, 0.5001, 1.23456])
@pytest.mark.parametrize(("output_format", "rate"), [("wav", 32_000), ("opus", 48_000)])
def test_length_is_exact_to_the_sample(
    demo: Predictor, output_format: str, rate: int, duration: float
) -> None:
    clip = demo.generate(_request(duration=duration, output_format=output_format)).clips[0]
    file = sf.info(clip.address)
    expected = round(round(duration * 32_000) * rate / 32_000)
    assert (clip.samples, clip.sample_rate) == (file.frames, file.samplerate) == (expected, rate)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(demo: Predictor) -> None:
    """Guards against seed 0 meaning "random"."""
    hashes = [demo.generate(_request(seed=seed)).clips[0].sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_random_seed_is_told_and_gives_the_clip_again(demo: Predictor) -> None:
    first = demo.generate(_request(seed=None))
    again = demo.generate(_request(seed=first.seed))
    assert first.clips[0].sha256 == again.clips[0].sha256
    assert demo.generate(_request(seed=None)).seed != first.seed


@pytest.mark.parametrize("guidance", [3.0, GUIDANCE_MAX])
@pytest.mark.parametrize("top_p", [0.0, 0.5])
def test_no_allowed_sampling_is_too_extreme(demo: Predictor, guidance: float, top_p: float) -> None:
    """Guards overflows, which ended in wrong tokens or an error about the weights."""
    fields = {"classifier_free_guidance": guidance, "top_p": top_p, "duration": 0.3}
    least, greedy = (
        demo.generate(_request(**fields, temperature=temperature)).clips[0]
        for temperature in (5e-324, 0.0)
    )
    assert least.sha256 == greedy.sha256
    for temperature in (LEAST_TEMPERATURE, 1e308):
        clip = demo.generate(_request(**fields, temperature=temperature)).clips[0]
        assert clip.peak > 0


def test_variations_are_files_with_consecutive_seeds(demo: Predictor) -> None:
    result = demo.generate(_request(variations=3, seed=2**32 - 2))
    assert [clip.seed for clip in result.clips] == [2**32 - 2, 2**32 - 1, 0]
    assert len({clip.address for clip in result.clips}) == 3
    assert len({clip.sha256 for clip in result.clips}) == 3


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_every_format_can_be_decoded(demo: Predictor, output_format: str) -> None:
    clip = demo.generate(_request(output_format=output_format)).clips[0]
    pcm, rate = sf.read(clip.address)
    assert Path(clip.address).suffix == f".{output_format}"
    assert len(pcm) / rate == pytest.approx(0.5, abs=0.1)
    assert np.abs(pcm).max() > 0.01


def test_a_continuation_opens_with_the_codec_s_view_of_the_clip(
    demo: Predictor, tmp_path: Path
) -> None:
    _write_tone(tmp_path / "clip.wav", seconds=3.0)
    request = _request(
        duration=1.0,
        input_audio=tmp_path / "clip.wav",
        continuation=True,
        continuation_start=1.0,
        continuation_end=1.5,
        prompt="",
    )
    assert demo.generate(request).clips[0].samples == 32000
    with pytest.raises(errors.InvalidContinuation, match=r"end of the clip at 3\.00 s"):
        demo.generate(
            _request(input_audio=tmp_path / "clip.wav", continuation=True, continuation_start=4)
        )
    with pytest.raises(errors.InvalidInputAudio, match="shorter than duration"):
        demo.generate(_request(input_audio=tmp_path / "clip.wav", continuation=True))


def test_a_melody_model_follows_the_whole_file(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = Settings(model=str(checkpoints("musicgen-stereo-melody")), data_dir=tmp_path)
    melody = Predictor.load(settings)
    _write_tone(tmp_path / "a.wav", seconds=2.0, rate=44100)
    fields = {"top_k": 30, "input_audio": tmp_path / "a.wav"}
    whole = melody.generate(_request(**fields))
    without = melody.generate(_request(top_k=30))
    assert whole.clips[0].sha256 != without.clips[0].sha256
    assert whole.clips[0].channels == 2
    assert any("whole mix" in note for note in whole.notes)


def test_cancelling_stops_at_the_next_step_and_leaves_no_file(
    demo: Predictor, tmp_path: Path
) -> None:
    demo = Predictor(demo.engine, demo._source, Settings(), LocalStorage(tmp_path / "out"))
    generation = demo.start(_request(duration=20))
    first = next(generation)
    generation.cancel()
    with pytest.raises(errors.GenerationCancelled, match=generation.job_id):
        next(generation)
    with pytest.raises(errors.GenerationCancelled):
        generation.result()
    assert first.total > 1000
    assert not list((tmp_path / "out").rglob("*.*"))


class _FullAfterTwo(LocalStorage):
    """A disk on which there is room for two clips."""

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        if name.index == 2:
            raise errors.DiskFull("no room")
        return super().put(name, blocks, content_type, metadata)


def test_variations_are_stored_all_or_none(demo: Predictor, tmp_path: Path) -> None:
    storage = _FullAfterTwo(tmp_path / "out")
    predictor = Predictor(demo.engine, demo._source, Settings(), storage)
    with pytest.raises(errors.DiskFull):
        predictor.generate(_request(variations=4))
    assert not list((tmp_path / "out").iterdir())


def test_a_result_can_be_asked_for_twice(demo: Predictor) -> None:
    generation = demo.start(_request())
    assert generation.result() is generation.result()
    assert list(generation) == []


@pytest.mark.parametrize("job_id", ["..", "a/b", "a\nb", "ä", "x" * 201])
def test_a_job_id_that_could_not_be_stored_is_refused_before_it_runs(
    demo: Predictor, job_id: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match="job_id"):
        demo.start(_request(), job_id)


def test_another_model_s_name_is_refused(demo: Predictor) -> None:
    assert demo.generate(_request(model_version="demo")).model == "demo"
    with pytest.raises(errors.UnknownModel, match=r"demo.*'large'"):
        demo.generate(_request(model_version="large"))


def test_models_are_taken_from_the_catalog_one_at_a_time_and_freed(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a worker whose memory grows with every model that is asked for."""
    folders = {"small": "musicgen-small", "stereo-small": "musicgen-stereo-small"}
    real = predictor_module.locate

    def locate(name: str, *args: Any, **kwargs: Any) -> Source:
        found = real(str(checkpoints(folders[name]))) if name in folders else real(name)
        return replace(found, name=name)

    monkeypatch.setattr(predictor_module, "locate", locate)
    before = _alive()
    serving = Serving(Predictor.load(Settings(data_dir=tmp_path)))
    for name, channels in (("small", 1), ("stereo-small", 2), ("demo", 1), ("small", 1)):
        result = serving.run(_request(model_version=name, top_k=20))
        assert (result.clips[0].channels, result.model) == (channels, name)
        assert _alive() == before + 1


def _alive() -> int:
    """Models that have not been freed."""
    gc.collect()
    return sum(type(each) is MusicGen for each in gc.get_objects())


def test_warming_up_writes_nothing(demo: Predictor, tmp_path: Path) -> None:
    predictor = Predictor(demo.engine, demo._source, Settings(), LocalStorage(tmp_path / "none"))
    predictor.warm_up()
    assert not (tmp_path / "none").exists()


def test_a_model_that_will_not_fit_is_refused_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """The weights are damaged: reading them would raise something else."""
    folder = Path(shutil.copytree(checkpoints("musicgen-small"), tmp_path / "model"))
    truncate(folder / "model.safetensors")
    monkeypatch.setattr(loading, "free_memory", lambda _: 1_000_000)
    with pytest.raises(errors.ModelTooLarge, match=r"needs about \d\.\d GB on cpu.*0\.0 GB free"):
        Predictor.load(Settings(model=str(folder)))


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(errors.SettingsError, match=r"MUSICGEN_DEVICE .*cuda:99"):
        Predictor.load(Settings(device="cuda:99"))


def test_int8_is_refused_where_it_has_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.SettingsError, match="int8 needs MUSICGEN_ENGINE=musicgen"):
        Predictor.load(Settings(precision="int8", engine="transformers"))
    monkeypatch.setattr(loading, "has_int8_kernels", lambda: False)
    with pytest.raises(
        errors.SettingsError, match=r"this PyTorch has no int8 kernels\. Use bfloat16 or auto"
    ):
        Predictor.load(Settings(precision="int8"))


def test_an_unsupported_checkpoint_falls_back_to_transformers(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("musicgen-small"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["audio_encoder"]["normalize"] = True
    (folder / "config.json").write_text(json.dumps(config))
    predictor = Predictor.load(Settings(model=str(folder), data_dir=tmp_path))
    assert predictor.generate(_request(top_k=30)).engine == "transformers"


def _write_tone(path: Path, seconds: float, rate: int = 32000) -> None:
    time = np.arange(round(seconds * rate)) / rate
    sf.write(path, 0.3 * np.sin(2 * np.pi * 330 * time), rate)
