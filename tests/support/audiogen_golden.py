"""Make `tests/data/audiogen`: results of audiocraft's AudioGen on the toy model.

    python -m tests.support.audiogen_golden AUDIOCRAFT

AUDIOCRAFT and the packages are those of `tests.support.audiocraft_golden`.
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
from tests.support import audiocraft_golden, audiogen


def main() -> None:
    """Run audiocraft on the toy model and write the results."""
    audiocraft = audiocraft_golden._import(Path(sys.argv[1]))
    from audiocraft.models import builders

    config = audiocraft_golden._config
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        base = Path(temporary) / "base"
        toy.write_base(base)
        audiocraft_golden._use_text_encoder(base)
        settings = toy.language_model_settings(audiogen.LANGUAGE_MODEL)
        codec = toy.codec_settings(audiogen.CODEC)
        shapes = {
            "language_model": audiocraft_golden._shapes(builders.get_lm_model(config(settings))),
            "codec": audiocraft_golden._shapes(builders.get_compression_model(config(codec))),
        }
        audiogen.write_model(Path(temporary) / "files", shapes)
        arrays = _run(Path(temporary) / "files")
    audiogen.GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        audiogen.GOLDEN,
        audiocraft=audiocraft.__version__,
        shapes=json.dumps(shapes, separators=(",", ":")),
        **arrays,
    )


def _run(folder: Path) -> dict[str, Any]:
    """Return the results of every part of what `AudioGen.get_pretrained` returns."""
    from audiocraft.models import AudioGen
    from audiocraft.modules.conditioners import ClassifierFreeGuidanceDropout

    model = AudioGen.get_pretrained(str(folder), device="cpu")
    assert model.sample_rate == audiogen.SAMPLE_RATE and model.frame_rate == audiogen.FRAME_RATE
    assert model.max_duration == audiogen.WINDOW_SECONDS
    model.set_generation_params(
        use_sampling=False, duration=audiogen.LONG_SECONDS, extend_stride=audiogen.LONG_STRIDE
    )
    attributes, _ = model._prepare_tokens_and_attributes([audiogen.PROMPT], None)
    tokens = model._generate_tokens(attributes, None)
    lm, codec = model.lm, model.compression_model
    tokenized = lm.condition_provider.tokenize(attributes)
    states, _ = lm.condition_provider(tokenized)["description"]
    codes = tokens[..., : audiogen.STEPS]
    positive = _compute_logits(lm, codes, attributes)
    negative = _compute_logits(lm, codes, ClassifierFreeGuidanceDropout(p=1.0)(attributes))
    heard, _ = codec.encode(toy.draw_waveform(audiogen.SAMPLES))
    sound = codec.decode(toy.draw_codes(codec.num_codebooks, codec.cardinality))
    return {
        "tokens": tokens[0].numpy().astype(np.uint8),
        "text_states": states[0].numpy(),
        "logits": positive.numpy(),
        "unconditional_logits": negative.numpy(),
        "codes": heard[0].numpy().astype(np.uint8),
        "waveform": sound[0, 0].numpy(),
    }


def _compute_logits(lm: Any, codes: torch.Tensor, attributes: Any) -> torch.Tensor:
    """Return the logits (codebooks, frames, vocabulary) of each code after those before it."""
    output = lm.compute_predictions(codes, attributes, keep_only_valid_steps=False)
    assert output.mask.all()
    logits: torch.Tensor = output.logits[0]
    return logits


if __name__ == "__main__":
    main()
