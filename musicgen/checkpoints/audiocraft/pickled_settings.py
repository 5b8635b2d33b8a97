"""Settings pickled as objects of omegaconf, read without omegaconf and without running code.

audiocraft's diffusion models keep their settings this way. torch's restricted unpickler builds
stand-ins with omegaconf's names: plain objects that only take attributes. `to_plain` turns their
tree into dictionaries and lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from musicgen.checkpoints.tensor_files import load_pickle
from musicgen.errors import CheckpointCorrupt

_MAX_DEPTH, _MAX_NODES = 32, 10_000
_NAMES = (
    *(("omegaconf.dictconfig", "DictConfig"), ("omegaconf.listconfig", "ListConfig")),
    *(("omegaconf.base", "ContainerMetadata"), ("omegaconf.base", "Metadata")),
    *(
        ("omegaconf.nodes", f"{kind}Node")
        for kind in ("Any", "String", "Integer", "Float", "Boolean", "Path", "Bytes", "Enum")
    ),
)
_TYPES = (bool, dict, float, int, list, str, tuple)


class _StandIn:
    """Object of a pickled tree, with the attributes of the original."""


def _build_stand_in(module: str, name: str) -> type:
    return type(name, (_StandIn,), {"__module__": module})


# torch finds an allowed class by its module and name; `typing.Any` appears as a value only.
_ALLOWED: Sequence[Any] = (
    *(_build_stand_in(module, name) for module, name in _NAMES),
    _build_stand_in("typing", "Any"),
    defaultdict,
    *_TYPES,
)


def load_with_settings(path: Path, advice: str) -> Any:
    """Load weights and settings of a file that torch.save wrote.

    Raises: `CheckpointCorrupt` for a file with anything else.
    """
    with torch.serialization.safe_globals(list(_ALLOWED)):
        return load_pickle(path, advice)


def to_plain(path: Path, settings: object) -> dict[str, Any]:
    """Return pickled settings as nested dictionaries. Raises: `CheckpointCorrupt`."""
    left = [_MAX_NODES]

    def convert(node: object, depth: int) -> Any:
        left[0] -= 1
        if depth > _MAX_DEPTH or left[0] < 0:
            raise CheckpointCorrupt(f"{path} holds settings too large or too deep.")
        if isinstance(node, _StandIn):
            return convert(getattr(node, "_content", getattr(node, "_val", None)), depth + 1)
        if isinstance(node, Mapping):
            return {str(name): convert(value, depth + 1) for name, value in node.items()}
        if isinstance(node, list | tuple):
            return [convert(value, depth + 1) for value in node]
        return node if isinstance(node, str | int | float | None) else None

    plain = convert(settings, 0)
    if not isinstance(plain, dict):
        raise CheckpointCorrupt(f"{path} holds no settings of its models. Download it again.")
    return plain
