"""Conditioning of a job's rows in the native library. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from musicgen.model.config import MusicGenConfig
from musicgen.model.native.generation import NativeDecoderModel, PromptKeys
from musicgen.model.native.library import Library
from musicgen.model.native.product import Arrays, Floats, NativeProduct
from musicgen.model.native.text_encoder import NativePromptEncoder
from musicgen.model.native.window_state import NativeConditioning

Tokenize = Callable[[str], Sequence[int]]


class NativeConditioner:
    """Text encoder and projections of a model; text and melody become inputs of the decoder.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`.
    """

    def __init__(
        self,
        library: Library,
        config: MusicGenConfig,
        arrays: Arrays,
        decoder: NativeDecoderModel,
        tokenize: Tokenize,
    ) -> None:
        self._config, self._decoder, self._tokenize = config, decoder, tokenize
        self._prompts = NativePromptEncoder(library, config, arrays)
        bins, size = config.chroma_bins, config.decoder.hidden_size
        self._chroma_projection = (
            NativeProduct(library, arrays, "chroma_projection", size, bins)
            if config.family == "melody" and bins != size
            else None
        )

    def build(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str],
        guided: Sequence[int],
        chroma: Floats | None,
    ) -> NativeConditioning:
        """Encode each distinct prompt once and arrange the results as decoder inputs.

        `prompts`, `negative_prompts`: one per clip. `guided`: indices of the clips with an
        unconditional row. `chroma`: (frames, bins) of the melody shared by all rows, or None.
        """
        used = [*prompts, *(negative_prompts[i] for i in guided)]
        states = {prompt: self.encode_text(prompt) for prompt in sorted(set(used))}
        if self._config.family == "text":
            return NativeConditioning(len(prompts), tuple(guided), self._build_keys(used, states))
        melody, silence = self.encode_chroma(chroma), self.encode_chroma(None)
        prefixes = [np.concatenate([melody, states[prompt]]) for prompt in prompts]
        for i in guided:
            negative = negative_prompts[i]
            # Without a negative prompt the states are zeros, as many as the prompt's.
            text = states[negative] if negative.strip() else np.zeros_like(states[prompts[i]])
            prefixes.append(np.concatenate([silence, text]))
        prefix, padding = _pad_left(prefixes)
        rows = (None,) * len(prefixes)
        return NativeConditioning(len(prompts), tuple(guided), rows, prefix, padding)

    def encode_text(self, prompt: str) -> Floats:
        """Encode a prompt to states (tokens, hidden); an empty one is one state of zeros."""
        if not prompt.strip():
            return np.zeros((1, self._config.decoder.hidden_size), np.float32)
        return self._prompts.encode(self._tokenize(prompt))

    def encode_chroma(self, chroma: Floats | None) -> Floats:
        """Project chroma (frames, bins) to states (chroma_frames, hidden).

        The chroma is repeated or cut to length. None is the melody of silence; by convention its
        strongest pitch class is the first.
        """
        if chroma is None:
            chroma = np.eye(1, self._config.chroma_bins, dtype=np.float32)
        length = self._config.chroma_frames
        whole = np.tile(chroma, (-(-length // len(chroma)), 1))[:length]
        return whole if self._chroma_projection is None else self._chroma_projection(whole)

    def _build_keys(
        self, prompts: Sequence[str], states: dict[str, Floats]
    ) -> tuple[PromptKeys | None, ...]:
        """Return keys and values per row. An empty prompt needs none: they would add zero."""
        keys = {
            prompt: self._decoder.build_prompt_keys(encoded)
            for prompt, encoded in states.items()
            if prompt.strip()
        }
        return tuple(keys.get(prompt) for prompt in prompts)


def _pad_left(prefixes: Sequence[Floats]) -> tuple[Floats, tuple[int, ...] | None]:
    longest = max(len(prefix) for prefix in prefixes)
    padding = tuple(longest - len(prefix) for prefix in prefixes)
    padded = np.stack(
        [
            np.pad(prefix, ((left, 0), (0, 0)))
            for prefix, left in zip(prefixes, padding, strict=True)
        ]
    )
    return padded, padding if any(padding) else None
