"""Adapters of a toy checkpoint, made and merged by PEFT itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.support import oracle


def write(folder: Path, base: Path, config: Any) -> None:
    """Writes an adapter of `config`, a configuration of PEFT, with random trained weights."""
    import peft

    torch.manual_seed(3)
    model = peft.get_peft_model(oracle.load(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.is_floating_point():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    model.eval().save_pretrained(folder)
    change_config(folder, base_model_name_or_path=str(base))


def change_config(folder: Path, **options: Any) -> None:
    """Sets options in an adapter's configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


def merge(base: Path, adapter: Path) -> Any:
    """transformers' model with the adapter merged by PEFT."""
    import peft

    return peft.PeftModel.from_pretrained(oracle.load(base), adapter).merge_and_unload().eval()


def weights(model: Any) -> dict[str, Tensor]:
    """All tensors of transformers' model that inference reads.

    `text_encoder.shared` is another name of the text encoder's embedding, or a copy that no module
    reads.
    """
    return {n: t for n, t in model.state_dict().items() if not n.startswith("text_encoder.shared")}
