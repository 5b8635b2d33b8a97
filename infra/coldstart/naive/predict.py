"""Naive MusicGen worker with transformers: the baseline of `python -m infra.coldstart.bench`.

NAIVE_MODEL is the checkpoint's folder, NAIVE_DTYPE float32 or bfloat16.
"""

from __future__ import annotations

import os
import tempfile

import soundfile
import torch
from cog import BaseRunner, Input, Path
from transformers import AutoTokenizer, MusicgenForConditionalGeneration


class Runner(BaseRunner):  # type: ignore[misc]
    """Cog runner without any of this project's code."""

    def setup(self) -> None:
        """Load the model."""
        folder = os.environ["NAIVE_MODEL"]
        dtype = getattr(torch, os.environ["NAIVE_DTYPE"])
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=dtype)

    def run(
        self,
        prompt: str = Input(description="Description of the music."),
        duration: float = Input(description="Seconds.", default=8.0),
    ) -> Path:
        """Make one clip as a WAV file."""
        config = self.model.config.audio_encoder
        inputs = self.tokenizer([prompt], return_tensors="pt")
        steps = round(duration * config.frame_rate) + self.model.config.decoder.num_codebooks - 1
        audio = self.model.generate(
            **inputs, do_sample=True, guidance_scale=3, max_new_tokens=steps
        )
        target = Path(tempfile.mkdtemp()) / "clip.wav"
        soundfile.write(target, audio[0, 0].float().numpy(), config.sampling_rate)
        return target
