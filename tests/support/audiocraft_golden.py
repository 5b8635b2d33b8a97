"""Make `tests/data/audiocraft`: results of audiocraft itself on the toy runs.

    python -m tests.support.audiocraft_golden AUDIOCRAFT

AUDIOCRAFT is a checkout of github.com/facebookresearch/audiocraft. It needs omegaconf, flashy,
librosa, torchaudio and num2words. xformers, spacy and Demucs are replaced: attention comes from
torch (audiocraft's default), and a melody is taken from the whole mix.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

from tests.support import audiocraft as toy
from tests.support.audiocraft_cases import CASES, Case

DATA = Path(__file__).parents[1] / "data" / "audiocraft"
_SETTINGS = (
    *("model/lm/default", "model/lm/musicgen_lm", "model/encodec/default"),
    *("conditioner/text2music", "conditioner/chroma2music", "solver/musicgen/default"),
)


def main() -> None:
    """Run audiocraft on every case and write the results."""
    source = Path(sys.argv[1])
    audiocraft = _import(source)
    result: dict[str, Any] = {
        "audiocraft": audiocraft.__version__,
        "settings": sorted(set(_list_settings(source / "config"))),
        "cases": {},
    }
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "base"
        toy.write_base(base)
        _use_text_encoder(base)
        result["prompt_ids"] = _tokenizer(base)(toy.PROMPT)["input_ids"]
        for number, (name, case) in enumerate(CASES.items()):
            made = _run(case, Path(temporary) / str(number))
            arrays |= {f"{number}.{part}": made.pop(part) for part in ("waveform",) if part in made}
            result["cases"][name] = {"number": number, **made}
            sys.stderr.write(f"{name}: {made.get('error', '')}\n")
        arrays["melody"], result["melody_tokens"] = _run_melody(Path(temporary) / "melody")
    DATA.mkdir(parents=True, exist_ok=True)
    _share_shapes(result["cases"])
    text = json.dumps(result, separators=(",", ":"), sort_keys=True)
    (DATA / "golden.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    np.savez_compressed(DATA / "waveforms.npz", **arrays)


def _run(case: Case, folder: Path) -> dict[str, Any]:
    """Return shapes and results of one case, or the error of audiocraft."""
    from audiocraft.models import builders, loaders

    lm_settings = toy.language_model_settings(case.language_model)
    codec_settings = toy.codec_settings(case.codec)
    made: dict[str, Any] = {}
    try:
        lm_shapes = _shapes(builders.get_lm_model(_config(lm_settings)))
        codec_shapes = _shapes(builders.get_compression_model(_config(codec_settings)))
        made = {"language_model": lm_shapes, "codec": codec_shapes}
        toy.write_files(
            folder,
            (lm_settings, toy.draw_weights(lm_shapes)),
            (codec_settings, toy.draw_weights(codec_shapes)),
        )
        codec = loaders.load_compression_model(folder, device="cpu")
        if case.language_model or not case.codec:
            made["tokens"] = _generate(folder, loaders, codec, toy.FRAMES / codec.frame_rate)
        if case.codec or not case.language_model:
            made |= _code(codec)
    except Exception as error:  # audiocraft cannot build every case
        return {"error": f"{type(error).__name__}: {error}"[:200], **made}
    return made


@torch.no_grad()
def _generate(folder: Path, loaders: Any, codec: Any, seconds: float) -> Any:
    model = _model(folder, loaders, codec)
    model.set_generation_params(use_sampling=False, duration=seconds, extend_stride=1)
    attributes, _ = model._prepare_tokens_and_attributes([toy.PROMPT], None)
    return model._generate_tokens(attributes, None)[0].tolist()


def _model(folder: Path, loaders: Any, codec: Any) -> Any:
    """Return what `MusicGen.get_pretrained` returns for a folder."""
    from audiocraft.models import MusicGen

    lm = loaders.load_lm_model(folder, device="cpu")
    if "self_wav" in lm.condition_provider.conditioners:
        lm.condition_provider.conditioners["self_wav"].match_len_on_eval = True
        lm.condition_provider.conditioners["self_wav"]._use_masking = False
    return MusicGen("toy", codec, lm)


@torch.no_grad()
def _code(codec: Any) -> dict[str, Any]:
    books, card = codec.num_codebooks, codec.cardinality
    codes, _ = codec.encode(toy.draw_waveform())
    waveform = codec.decode(toy.draw_codes(books, card))[0, 0]
    return {"codes": codes[0].tolist(), "waveform": waveform.numpy()}


def _run_melody(folder: Path) -> tuple[np.ndarray, Any]:
    """Return the chroma of each window of a long clip with a short melody, and its last tokens."""
    from audiocraft.models import builders, loaders

    settings = toy.language_model_settings(toy.MELODY)
    codec_settings = toy.codec_settings()
    shapes = _shapes(builders.get_lm_model(_config(settings)))
    codec_shapes = _shapes(builders.get_compression_model(_config(codec_settings)))
    toy.write_files(
        folder,
        (settings, toy.draw_weights(shapes)),
        (codec_settings, toy.draw_weights(codec_shapes)),
    )
    codec = loaders.load_compression_model(folder, device="cpu")
    model = _model(folder, loaders, codec)
    model.set_generation_params(
        use_sampling=False, duration=toy.LONG_SECONDS, extend_stride=toy.LONG_STRIDE
    )
    conditioner = model.lm.condition_provider.conditioners["self_wav"]
    seen: list[torch.Tensor] = []
    extract = conditioner._get_wav_embedding

    def keep(condition: Any) -> torch.Tensor:
        chroma = extract(condition)
        seen.append(chroma[0])
        return chroma

    conditioner._get_wav_embedding = keep
    with torch.no_grad():
        melody = toy.draw_melody()[None]
        attributes, _ = model._prepare_tokens_and_attributes([toy.PROMPT], None, list(melody))
        tokens = model._generate_tokens(attributes, None)[0]
    chroma = torch.stack(seen).argmax(-1).numpy().astype(np.uint8)
    return chroma, tokens[:, :: toy.LONG_STEP].tolist()


def _shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def _share_shapes(cases: dict[str, dict[str, Any]]) -> None:
    """Keep only the shapes that differ from the first case; null is for one that is missing."""
    first = {kind: dict(cases["base"][kind]) for kind in ("language_model", "codec")}
    for name, case in cases.items():
        for kind, shapes in first.items():
            if name == "base" or kind not in case:
                continue
            own = case[kind]
            changed = {n: s for n, s in own.items() if shapes.get(n) != s}
            case[kind] = changed | {n: None for n in shapes if n not in own}


def _config(settings: Mapping[str, Any]) -> Any:
    from omegaconf import OmegaConf

    config = OmegaConf.create(yaml.safe_dump(dict(settings)))
    config.device, config.dtype = "cpu", "float32"
    return config


def _list_settings(folder: Path) -> Iterator[str]:
    for name in _SETTINGS:
        tree = yaml.safe_load((folder / f"{name}.yaml").read_text())
        tree.pop("defaults", None)
        yield from _leaves("", tree)


def _leaves(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, part)
    else:
        yield path


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _use_text_encoder(base: Path) -> None:
    """Let audiocraft find the toy text encoder and no Demucs."""
    import transformers as hf
    from audiocraft.modules import conditioners

    config = json.loads((base / "config.json").read_text())["text_encoder"]
    weights = load_file(base / "model.safetensors")
    prefix = "text_encoder."
    state = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}

    def load(name: str) -> Any:
        encoder = hf.T5EncoderModel(hf.T5Config(**config))
        encoder.load_state_dict(state, strict=False)
        return encoder

    conditioners.T5EncoderModel = MagicMock(from_pretrained=load)
    conditioners.T5Tokenizer = MagicMock(from_pretrained=lambda name: _tokenizer(base))
    for name in (toy.TEXT_ENCODER, "t5-small"):
        conditioners.T5Conditioner.MODELS.append(name)
        conditioners.T5Conditioner.MODELS_DIMS[name] = toy.TEXT_WIDTH
    conditioners.ChromaStemConditioner._get_stemmed_wav = lambda self, wav, rate: wav
    demucs = ModuleType("demucs")
    stems = MagicMock(sources=["drums", "bass", "other", "vocals"])
    stems.to = lambda device: stems
    demucs.pretrained = MagicMock(get_model=lambda name: stems)  # type: ignore[attr-defined]
    sys.modules["demucs"] = demucs


def _import(source: Path) -> ModuleType:
    """Import audiocraft from `source` without the packages that toy models do not need."""
    xformers, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.unbind = torch.unbind  # type: ignore[attr-defined]
    ops.memory_efficient_attention = None  # type: ignore[attr-defined]
    ops.LowerTriangularMask = type("LowerTriangularMask", (), {})  # type: ignore[attr-defined]
    xformers.ops = ops  # type: ignore[attr-defined]
    sys.modules |= {"xformers": xformers, "xformers.ops": ops}
    sys.modules |= {name: MagicMock() for name in ("spacy", "torchmetrics")}
    sys.path.insert(0, str(source))
    import audiocraft

    return audiocraft


if __name__ == "__main__":
    main()
