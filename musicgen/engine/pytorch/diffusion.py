"""Multi-band diffusion as the decoder of a loaded model in PyTorch.

Few requests ask for it, so its network and its reader are imported at the first one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from musicgen.catalog import DIFFUSION_SAMPLE_RATE
from musicgen.engine.backend import Codes
from musicgen.engine.interface import Pcm
from musicgen.errors import CheckpointError, InvalidRequest, ModelTooLarge, SettingsError
from musicgen.errors.request_reasons import RequestReason
from musicgen.model.codec_stream import decode_in_pieces
from musicgen.model.musicgen import MusicGen
from musicgen.process.resources import free_memory
from musicgen.process.stopwatch import Stopwatch

if TYPE_CHECKING:
    from musicgen.model.diffusion.decoder import MultiBandDiffusion

FIELD = "decoder"
FLOAT_BYTES = 4
LEVELS_AT_ONCE = 8
"""Copies of the outermost level that a U-Net holds, its skip connections included."""

logger = logging.getLogger(__name__)


class TorchDiffusion:
    """Decoder of all clips of a model."""

    def __init__(self, model: MusicGen, diffusion: MultiBandDiffusion) -> None:
        self._model, self._diffusion = model, diffusion

    def count_steps(self, frames: int) -> int:
        """Return the steps of a clip."""
        return self._diffusion.count_steps(frames * self._model.config.codec.hop_length)

    @torch.inference_mode()
    def decode(self, codes: Codes, seed: int) -> Iterator[Pcm | None]:
        """Decode the codes (codebooks, frames) of a clip.

        Yields None after each step, and the samples (samples, channels) at last. Both sides of
        stereo are decoded as one batch, with one level for each of their frequency bands.
        """
        from musicgen.model.diffusion.noise import SeededNoise

        model = self._model
        channels = model.config.channels
        tokens = torch.from_numpy(codes).to(model.device)
        reference = decode_in_pieces(model.codec, tokens, channels).float()
        sides = torch.stack([tokens[side::channels] for side in range(channels)])
        latents = model.codec.embed(sides).float()
        steps = self._diffusion.generate(latents, reference.shape[-1], SeededNoise(seed))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                sound = self._diffusion.equalize(end.value, reference)
                break
            yield None
        yield sound.t().cpu().contiguous().numpy()


class DiffusionLoader:
    """Loads the decoder of a model at its first use."""

    def __init__(self, model: MusicGen) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._loaded: dict[str, TorchDiffusion] = {}

    def open(self, name: str) -> TorchDiffusion:
        """Return the decoder with the weights `name`: a hub name, a folder or a file.

        Raises: `InvalidRequest` for a model or a machine without multi-band diffusion. The log has
        the reason, with paths that are not for callers.
        """
        rate = self._model.config.sample_rate
        if rate != DIFFUSION_SAMPLE_RATE:
            problem = RequestReason("decoder_rate", rate=rate)
            advice = f"Multi-band diffusion exists for {DIFFUSION_SAMPLE_RATE} Hz."
            raise InvalidRequest(FIELD, problem, advice=advice)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: str) -> TorchDiffusion:
        from musicgen.checkpoints.diffusion import load_diffusion
        from musicgen.checkpoints.diffusion_files import locate_diffusion

        watch, device = Stopwatch(), str(self._model.device)
        try:
            path = locate_diffusion(name)
            _check_memory(path, device)
            diffusion = load_diffusion(path, device)
        except (CheckpointError, SettingsError, ModelTooLarge) as error:
            logger.warning("Multi-band diffusion is not available: %s", error)
            is_large = isinstance(error, ModelTooLarge)
            problem = RequestReason("decoder_unavailable")
            advice = f"This server has {'too little memory' if is_large else 'no weights'} for "
            raise InvalidRequest(FIELD, problem, advice=f"{advice}multi-band diffusion.") from error
        codec = self._model.config.codec
        if diffusion.sample_rate != codec.sample_rate or diffusion.codec_dims - {
            codec.codebook_dim
        }:
            problem = RequestReason("decoder_codec")
            advice = "Its codec is not the one that multi-band diffusion was trained with."
            raise InvalidRequest(FIELD, problem, advice=advice)
        logger.info("loaded %s on %s in %.1f s", name, device, watch.lap())
        return TorchDiffusion(self._model, diffusion)


def _check_memory(path: Path, device: str) -> None:
    """Check that weights and one window fit into memory. Raises: `ModelTooLarge`."""
    from musicgen.model.diffusion.decoder import WINDOW_SECONDS

    # A level has about as many numbers as the one outside of it.
    window = WINDOW_SECONDS * DIFFUSION_SAMPLE_RATE * FLOAT_BYTES
    needed = path.stat().st_size + int(window * 2 * LEVELS_AT_ONCE * 12)
    free = free_memory(device)
    if free is not None and needed > free:
        raise ModelTooLarge("multi-band diffusion", "float32", device, needed, free)
