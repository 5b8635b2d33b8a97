"""Make `tests/data/style`: results of audiocraft's MusicGen-Style on the toy model.

    python -m tests.support.style_golden AUDIOCRAFT

AUDIOCRAFT and the packages are those of `tests.support.audiocraft_golden`. MERT-v1-95M has the
network and the tensors of transformers' HuBERT, which stands for it here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support import audiocraft as toy
from tests.support import audiocraft_golden, style


def main() -> None:
    """Run audiocraft on the toy model and write the results."""
    audiocraft = audiocraft_golden._import(Path(sys.argv[1]))
    import transformers
    from audiocraft.models import builders, loaders

    hubert = _build_hubert()
    transformers.AutoModel.from_pretrained = lambda *_, **__: hubert
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        base, files = Path(temporary) / "base", Path(temporary) / "files"
        toy.write_base(base)
        audiocraft_golden._use_text_encoder(base)
        settings = toy.language_model_settings(style.LANGUAGE_MODEL)
        codec = toy.codec_settings(style.CODEC)
        shape, config = audiocraft_golden._shapes, audiocraft_golden._config
        shapes = {
            "language_model": shape(builders.get_lm_model(config(settings))),
            "codec": shape(builders.get_compression_model(config(codec))),
            "mert": shape(hubert),
        }
        toy.write_files(
            files,
            (settings, style.draw_weights(shapes["language_model"])),
            (codec, style.draw_weights(shapes["codec"])),
        )
        model = audiocraft_golden._model(
            files, loaders, loaders.load_compression_model(files, device="cpu")
        )
        arrays = _run(model)
    style.GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        style.GOLDEN,
        audiocraft=audiocraft.__version__,
        shapes=json.dumps(shapes, separators=(",", ":")),
        **arrays,
    )


def _build_hubert() -> Any:
    from transformers import HubertConfig, HubertModel

    hubert = HubertModel(HubertConfig(**{**style.MERT, "model_type": "hubert"})).eval()
    hubert.load_state_dict(style.draw_weights(audiocraft_golden._shapes(hubert)), strict=True)
    return hubert


def _run(model: Any) -> dict[str, Any]:
    """Return the results of every part."""
    conditioner = model.lm.condition_provider.conditioners["self_wav"]
    seen: list[torch.Tensor] = []
    conditioner.feat_extractor.register_forward_hook(
        lambda module, inputs, output: seen.extend([inputs[0], output.last_hidden_state])
    )
    arrays: dict[str, Any] = {}
    cases = {
        "both": (toy.PROMPT, True, 5.0, 3, 3.0),
        "narrow": (toy.PROMPT, True, 5.0, 1, 1.5),
        "long": (toy.PROMPT, True, 2.0, 6, 4.5),
        "single": (toy.PROMPT, True, None, 3, 3.0),
        "style": (None, True, None, 3, 3.0),
        "text": (toy.PROMPT, False, None, 3, 3.0),
    }
    for name, (text, has_style, beta, codebooks, seconds) in cases.items():
        seen.clear()
        model.set_generation_params(
            use_sampling=False, duration=style.FRAMES / style.FRAME_RATE, cfg_coef_beta=beta
        )
        conditioner.set_params(eval_q=codebooks, excerpt_length=seconds)
        recording = torch.from_numpy(style.draw_recording().T.copy()) if has_style else None
        attributes, _ = model._prepare_tokens_and_attributes([text], None, [recording])
        tokens = model._generate_tokens(attributes, None)
        arrays[f"{name}.tokens"] = tokens[0].numpy().astype(np.uint8)
        if has_style:
            arrays[f"{name}.samples"] = seen[0][0, :: 16 * style.KEPT_FEATURES].numpy()
            arrays[f"{name}.features"] = seen[1][0, :: style.KEPT_FEATURES].numpy()
        provider = model.lm.condition_provider
        states, mask = provider(provider.tokenize(attributes))["self_wav"]
        assert bool(mask.all()) == has_style
        arrays[f"{name}.states"] = states[0].numpy()
        arrays[f"{name}.logits"] = _compute_guided_logits(model.lm, tokens, attributes, beta)
    return arrays


def _compute_guided_logits(lm: Any, codes: Any, attributes: Any, beta: float | None) -> Any:
    """Return the guided logits (codebooks, frames, vocabulary) of each code after the others."""
    from audiocraft.modules.conditioners import (
        ClassifierFreeGuidanceDropout,
        _drop_description_condition,
    )

    none = ClassifierFreeGuidanceDropout(p=1.0)(attributes)
    dropped = [] if beta is None else _drop_description_condition(attributes)
    rows = attributes + dropped + none
    provider = lm.condition_provider
    tensors = provider(provider.tokenize(rows))
    output = lm.compute_predictions(
        codes.repeat(len(rows), 1, 1), [], tensors, keep_only_valid_steps=False
    )
    assert output.mask.all()
    logits = output.logits
    if beta is None:
        return (logits[1] + 3.0 * (logits[0] - logits[1])).numpy()
    whole, heard, free = logits
    return (free + 3.0 * (heard + beta * (whole - heard) - free)).numpy()


if __name__ == "__main__":
    main()
