"""Write held-out music with its descriptions, for `musicgen evaluate --music`.

python -m training.held_out FOLDER --clips 64
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile as sf

from training.data import HELD_OUT_SEED, make_pool
from training.music.instruments import RATE
from training.music.words import describe

# The trainings measure two other pools.
SEED = HELD_OUT_SEED + 2
SECONDS = 4.0


def write_held_out(folder: Path, clips: int) -> None:
    """Write NAME.wav and NAME.txt for each clip; they are the same in every run."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = make_pool(SEED, clips, SECONDS)
    rng = np.random.default_rng(SEED)
    for index, (piece, sound) in enumerate(zip(pool.pieces, pool.sound, strict=True)):
        sf.write(folder / f"{index:03}.wav", sound, RATE, subtype="PCM_16")
        text = describe(piece, rng, left_out=0)
        (folder / f"{index:03}.txt").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=64)
    options = parser.parse_args()
    write_held_out(options.folder, options.clips)


if __name__ == "__main__":
    main()
