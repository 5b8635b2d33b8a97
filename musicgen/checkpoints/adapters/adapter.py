"""An adapter's files, and its merge into the tensors of a checkpoint on reading.

The merge equals PEFT's `merge_and_unload`, tensor by tensor. Merged weights add no cost to
generation. Names are those of transformers' modules; `canonical` maps the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from musicgen.checkpoints.adapters.deltas import Merge, Place, find_tokens
from musicgen.checkpoints.adapters.kinds import MERGE_WITH_PEFT, is_target, read_adapter_config
from musicgen.checkpoints.adapters.rules import Rule, find_rule, split_part
from musicgen.checkpoints.tensor_files import TensorFiles, open_file
from musicgen.errors import CheckpointIncomplete, CheckpointMismatch, UnsupportedAdapter
from musicgen.errors.counts import format_count

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_BASE_LAYER = ".base_layer."
_SHARED, _READ = "text_encoder.shared", "text_encoder.encoder.embed_tokens"
"""Two names of T5's embedding. The encoder reads the second one."""
_NORMED = ".parametrizations.weight.original"


def canonical(name: str) -> str:
    """Return transformers' present name of a stored tensor."""
    name = re.sub(r"\.weight_g$", f"{_NORMED}0", name)
    name = re.sub(r"\.weight_v$", f"{_NORMED}1", name)
    return name.replace(f"{_SHARED}.", f"{_READ}.")


class Adapter:
    """The adapter in a folder.

    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `UnsupportedAdapter`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = next((p for n in _WEIGHTS if (p := folder / n).is_file()), folder / _WEIGHTS[0])
        self._config = read_adapter_config(folder)
        self._kind = str(self._config["peft_type"])
        self._file = open_file(self.path)
        self._whole: dict[str, str] = {}
        self._unread: dict[str, str] = {}
        self._parts: dict[str, dict[str, str]] = {}
        self._places: dict[str, Place] = {}
        for stored in self._file.names():
            self._sort(stored)
        self._rules = {module: self._check_module(module) for module in self._parts}

    @property
    def names(self) -> set[str]:
        """Canonical names of the checkpoint's tensors that the adapter needs."""
        changed = {
            f"{module}.{name}" for module, rule in self._rules.items() for name in rule.required
        }
        return {*changed, *self._whole, *self._unread}

    def apply(self, name: str, tensor: Tensor) -> Tensor:
        """Return the checkpoint's tensor with the canonical `name`, changed by the adapter.

        A sum or product is float32, whatever the checkpoint's precision.

        Raises: `CheckpointMismatch`, `UnsupportedAdapter`.
        """
        if name in self._unread:
            self._check_unread(name, tensor)
        merged = tensor
        if name in self._whole:
            merged = self._check_shape(name, tensor, self._file.tensor(self._whole[name]))
        merge = self._find_merge(name)
        if merge is not None:
            merged = self._merge(merge, name, merged.float())
        return merged

    def check_names(self, base: Iterable[str], where: object) -> None:
        """Check that every tensor of the adapter changes one of the base's canonical names.

        Raises: `CheckpointMismatch`, `UnsupportedAdapter`.
        """
        known = set(base)
        unknown = sorted(name for name in self.names if name not in known)
        for name in unknown:
            if name.removesuffix(".weight") + f"{_NORMED}0" in known:
                raise UnsupportedAdapter(
                    f"{self.path}: {name} belongs to a convolution with weight normalization, "
                    "which peft does not merge either. Train without the codec (audio_encoder)."
                )
        if unknown:
            raise CheckpointMismatch(
                f"{self.path} changes {format_count(len(unknown), 'tensor')} missing in {where}, "
                f"such as {unknown[0]}: the adapter belongs to another model"
            )

    def _sort(self, stored: str) -> None:
        """Assign a tensor of the adapter to a module or a tensor of the checkpoint."""
        name = stored.removeprefix(_PREFIX)
        if name == stored:
            raise self._refuse(f"the tensor {stored} belongs to no module of the model")
        split = split_part(self._kind, name)
        if split is not None:
            module, part = split
            self._add_part(module, part, stored)
            return
        whole = name.replace(_BASE_LAYER, ".")
        if whole == name and self._is_separate_copy(name):
            self._unread[canonical(name)] = stored
            return
        other = self._whole.get(canonical(whole))
        if other is not None and not torch.equal(
            self._file.tensor(other), self._file.tensor(stored)
        ):
            raise self._refuse(f"{other} and {stored} are one tensor with two values")
        self._whole[canonical(whole)] = stored

    def _add_part(self, module: str, part: str, stored: str) -> None:
        """Add a part to its module. Merging changes T5's embedding under both of its names."""
        key = canonical(f"{module}.").removesuffix(".")
        if self._places.setdefault(key, Place(module, self._config)).module != module:
            raise self._refuse(f"{key} is changed under both of its names")
        self._parts.setdefault(key, {})[part] = stored

    def _is_separate_copy(self, name: str) -> bool:
        """Whether PEFT keeps the tensor as a copy of its own, never read by the text encoder."""
        saved = self._config.get("modules_to_save") or []
        return name.startswith(f"{_SHARED}.") and any(_SHARED.endswith(each) for each in saved)

    def _check_module(self, module: str) -> Rule:
        """Return the rule of a module. Raises: `UnsupportedAdapter`, `CheckpointIncomplete`."""
        parts = self._parts[module]
        rule = find_rule(self._kind, parts)
        if rule is None:
            raise CheckpointIncomplete(
                f"{self.path}: {module} has only {', '.join(sorted(parts))} of its "
                f"{self._kind} tensors"
            )
        for part, option in rule.options.items():
            if (part in parts) != bool(self._config.get(option)):
                state = "has" if part in parts else "lacks"
                raise self._refuse(
                    f"{module} {state} the tensor {part}, but {option} is "
                    f"{self._config.get(option)} in its configuration"
                )
        place = self._places[module]
        if rule.is_targeted and not is_target(self._config.get("target_modules"), place.module):
            raise self._refuse(f"{module} is adapted, but target_modules does not name it")
        saved_whole = self._whole.get(f"{module}.weight", "")
        if saved_whole and _BASE_LAYER not in saved_whole:
            raise self._refuse(f"{module} is adapted and also saved whole")
        if rule.has_tokens:
            self._check_tokens(place, parts)
        return rule

    def _check_tokens(self, place: Place, parts: Mapping[str, str]) -> None:
        rows = self._file.tensor(next(iter(parts.values()))).shape[0]
        tokens = len(find_tokens(place))
        if tokens != rows:
            raise self._refuse(
                f"{place.module} has {format_count(rows, 'trained token')}, but its configuration "
                f"names {tokens}"
            )

    def _find_merge(self, name: str) -> Merge | None:
        module, _, suffix = name.rpartition(".")
        rule = self._rules.get(module)
        return None if rule is None else rule.merges.get(suffix)

    def _merge(self, merge: Merge, name: str, base: Tensor) -> Tensor:
        module = name.rpartition(".")[0]
        parts = {
            part: self._file.tensor(stored).float() for part, stored in self._parts[module].items()
        }
        if base.dim() > 2 or any(part.dim() > 2 for part in parts.values()):
            raise self._refuse(f"{name} is the weight of a convolution")
        try:
            merged = merge(base, parts, self._places[module])
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join(f"{part} {tuple(each.shape)}" for part, each in parts.items())
            raise CheckpointMismatch(
                f"{self.path}: the shapes of {shapes} do not fit {name} {tuple(base.shape)}: the "
                "adapter belongs to another model"
            ) from error
        return self._check_shape(name, base, merged)

    def _check_unread(self, name: str, base: Tensor) -> None:
        """Refuse a trained copy of T5's embedding that the text encoder would not read."""
        saved = self._check_shape(name, base, self._file.tensor(self._unread[name]))
        if not torch.equal(saved.to(base.dtype), base):
            raise UnsupportedAdapter(
                f"{self.path}: modules_to_save names {_SHARED}, but the text encoder reads "
                f"{_READ}, so peft's own merge leaves the trained copy unused. Train with "
                f"modules_to_save=['encoder.embed_tokens'] instead of 'shared'."
            )

    def _check_shape(self, name: str, tensor: Tensor, change: Tensor) -> Tensor:
        if change.shape != tensor.shape:
            raise CheckpointMismatch(
                f"{self.path}: {name} has shape {tuple(change.shape)}, but {tuple(tensor.shape)} "
                "in the checkpoint: the adapter belongs to another model"
            )
        return change

    def _refuse(self, problem: str) -> UnsupportedAdapter:
        return UnsupportedAdapter(f"{self.path}: {problem}. {MERGE_WITH_PEFT}")


class AdaptedFiles(TensorFiles):
    """Tensors of a checkpoint's folder with an adapter merged in."""

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        super().__init__(folder)
        self._adapter = adapter
        adapter.check_names({canonical(name) for name in self.names}, folder)

    def __getitem__(self, name: str) -> Tensor:
        return self._adapter.apply(canonical(name), super().__getitem__(name))


def apply_to(model: torch.nn.Module, folder: Path) -> None:
    """Merge the adapter of a folder into a model of transformers, in place.

    Raises: the errors of `Adapter`, `CheckpointMismatch`.
    """
    adapter = Adapter(folder)
    # Two names of one tensor come to one canonical name, and are changed once.
    tensors = {canonical(name): tensor for name, tensor in model.state_dict().items()}
    adapter.check_names(tensors, "the model")
    with torch.no_grad():
        for name, tensor in tensors.items():
            merged = adapter.apply(name, tensor)
            if merged is not tensor:
                tensor.copy_(merged)
