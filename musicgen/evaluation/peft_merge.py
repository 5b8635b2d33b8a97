"""An adapter merged by PEFT itself, as the reference for this project's merge."""

from __future__ import annotations

import logging
from typing import Any

import torch

from musicgen.checkpoints.adapters.adapter import Adapter, canonical
from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.tensor_files import TensorFiles
from musicgen.engine.loading import resolve_device
from musicgen.engine.transformers_engine import TransformersEngine, check_precision, load_base
from musicgen.errors import MergeDiffers, MissingDependency
from musicgen.errors.counts import format_count
from musicgen.model.config import MusicGenConfig
from musicgen.model.tokenizer import load_tokenizer
from musicgen.settings import Settings

TOLERANCE = 1e-5
"""Largest difference of a weight, as a fraction of the largest weight of its tensor."""

logger = logging.getLogger(__name__)


def load_merged_by_peft(source: Source, settings: Settings) -> TransformersEngine:
    """Load transformers with the adapter of `source` merged by PEFT, and compare every weight.

    The merge is float32; `settings` names the precision of the engine.

    Raises: `MergeDiffers`, `MissingDependency` without peft or transformers, `SettingsError` for
    int8.
    """
    try:
        import peft
    except ImportError:
        raise MissingDependency("peft", "verify with an adapter", "peft") from None
    check_precision(settings.precision)
    config = MusicGenConfig.from_folder(source.folder)
    base = load_base(source.folder, config, "float32")
    adapter = source.adapter or source.folder
    model: Any = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()
    count = compare_weights(source, model)
    logger.info("peft %s merges alike: %s", peft.__version__, format_count(count, "weight"))
    device = resolve_device(settings.device)
    model = model.to(device, getattr(torch, settings.precision)).eval()
    tokenize = load_tokenizer(source.folder)
    return TransformersEngine(model, config, tokenize, device, settings.precision)


def compare_weights(source: Source, model: torch.nn.Module) -> int:
    """Compare the merge of `source` with `model`, and return the number of weights.

    Raises: `MergeDiffers`, also if `model` lacks a weight that the adapter changes.
    """
    adapter = Adapter(source.adapter or source.folder)
    files = TensorFiles(source.folder)
    merged = {canonical(name): tensor for name, tensor in model.state_dict().items()}
    different: dict[str, float] = {}
    names = [name for name in files.names if canonical(name) in merged]
    missing = sorted(adapter.names - {canonical(name) for name in names})
    if missing:
        raise MergeDiffers(
            f"peft's merge lacks {format_count(len(missing), 'weight')} that {adapter.path.parent} "
            f"changes, such as {missing[0]}: no comparison is possible."
        )
    for name in names:
        theirs = merged[canonical(name)].float()
        ours = adapter.apply(canonical(name), files[name].float()).float()
        largest = float(theirs.abs().amax()) or 1.0
        distance = float((ours - theirs).abs().amax()) / largest
        # A difference that is no number is one too.
        if not distance <= TOLERANCE:
            different[name] = distance
    if different:
        worst = max(different, key=lambda name: different[name])
        raise MergeDiffers(
            f"peft's merge of {adapter.path.parent} differs in {len(different)} of "
            f"{format_count(len(names), 'weight')}, most of all in {worst} (by "
            f"{different[worst]:.1%}). Merge the adapter with peft and load the merged folder."
        )
    return len(names)
