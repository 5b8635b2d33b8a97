"""All parts of one checkpoint as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import Decoder
from musicgen.model.encodec import Codec
from musicgen.model.layers import Affine
from musicgen.model.style.encoder import StyleEncoder
from musicgen.model.text_encoder import TextEncoder


class PromptEncoder(Protocol):
    """Replacement for the text encoder and its projection."""

    def encode(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Encode the tokens of a prompt to states (length, hidden of the decoder)."""
        ...


class MusicGen(nn.Module):
    """Text encoder, decoder, codec, and the projections of the conditioning."""

    def __init__(self, config: MusicGenConfig) -> None:
        super().__init__()
        self.config = config
        text_size, size = config.text_encoder.hidden_size, config.decoder.hidden_size
        self.text_encoder = TextEncoder(config.text_encoder)
        self.text_projection = Affine(text_size, size) if text_size != size else nn.Identity()
        if config.family == "melody":
            bins = config.chroma_bins
            self.chroma_projection = Affine(bins, size) if bins != size else nn.Identity()
        self.style_encoder = None if config.style is None else StyleEncoder(config.style, size)
        self.decoder = Decoder(config.decoder)
        self.codec = Codec(config.codec)
        self.native_prompts: PromptEncoder | None = None

    @property
    def device(self) -> torch.device:
        """Device of the decoder."""
        return self.decoder.embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the decoder's activations."""
        return self.decoder.embeddings.dtype

    def encode_text(self, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Encode the tokens (1, length) of one prompt to states (1, length, hidden).

        `allowed` (1, length) is false at padding after the prompt.
        """
        if self.native_prompts is not None:
            return torch.from_numpy(self.native_prompts.encode(tokens[0].tolist()))[None]
        return self.text_projection(self.text_encoder(tokens, allowed)).to(self.dtype)

    def build_null_text_states(self) -> Tensor:
        """Return the states (1, 1, hidden) of an empty prompt.

        They are zeros, without the projection's bias.
        """
        size = self.config.decoder.hidden_size
        return torch.zeros(1, 1, size, device=self.device, dtype=self.dtype)

    def encode_chroma(self, chroma: Tensor | None) -> Tensor:
        """Project chroma (frames, bins) to states (1, chroma_frames, hidden).

        The chroma is repeated or cut to length. None is the melody of silence; by convention its
        strongest pitch class is the first.
        """
        if chroma is None:
            chroma = torch.zeros(1, self.config.chroma_bins, device=self.device)
            chroma[:, 0] = 1
        length = self.config.chroma_frames
        repeats = -(-length // chroma.shape[0])
        whole = chroma.to(self.device, torch.float32).repeat(repeats, 1)[:length]
        return self.chroma_projection(whole[None]).to(self.dtype)

    def encode_style(self, samples: Tensor | None, codebooks: int | None = None) -> Tensor:
        """Encode an excerpt (samples,) at MERT's rate to states (1, length, hidden).

        `codebooks`: see `StyleEncoder`. None is no style: a single state of zeros, without the
        projection's bias.
        """
        if samples is None or self.style_encoder is None:
            return self.build_null_text_states()
        return self.style_encoder(samples[None].to(self.device), codebooks).to(self.dtype)
