"""Weight files of a checkpoint folder in Hugging Face's layout. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from musicgen.errors import CheckpointIncomplete
from musicgen.model.json_file import read_json

SAFETENSORS = "model.safetensors"
PYTORCH_BIN = "pytorch_model.bin"


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, safetensors before `pytorch_model.bin`.

    Raises: `CheckpointIncomplete` without any, or without a file named by the index.
    """
    for single in (SAFETENSORS, PYTORCH_BIN):
        index = folder / f"{single}.index.json"
        if index.exists():
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
        else:
            names = [single] if (folder / single).exists() else []
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise CheckpointIncomplete(f"{folder} lacks {', '.join(missing)}, named in {index}")
        if names:
            return [folder / name for name in names]
    raise CheckpointIncomplete(
        f"{folder} has no weights: looked for {SAFETENSORS} and {PYTORCH_BIN}, whole or sharded"
    )
