"""Conditioning of a job's rows: text states, and melody or style, as the decoder's inputs.

The text family conditions through cross-attention. The melody family puts the chroma and then the
text states before the sequence, as a prefix; the style family has the style in place of the chroma.
In a batch, shorter prefixes are padded on the left
and masked, so the positions of every row start at 0 as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.engine.interface import Row
from musicgen.engine.job_rows import find_guided, find_styled
from musicgen.model.decoder import CrossAttentionCache
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize
from musicgen.model.upload import upload

EncodeTokens = Callable[[Sequence[int]], Tensor]
"""From the tokens of one prompt to states (1, length, hidden)."""


@dataclass(frozen=True)
class Conditioning:
    """Conditioning of all decoder rows: one per clip, the unconditional ones, those of style alone.

    `guided`: indices of the clips with an unconditional row, in the order of those rows. `styled`:
    the same for rows of style alone. `prefix`: (rows, length, hidden) or None. `padding`: (rows,)
    masked prefix steps on the left, or None; `padded` has the same numbers on the host.
    """

    clips: int
    guided: tuple[int, ...]
    cross: CrossAttentionCache | None
    prefix: Tensor | None = None
    padding: Tensor | None = None
    styled: tuple[int, ...] = ()
    padded: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        """Number of decoder rows."""
        return self.clips + len(self.guided) + len(self.styled)

    @property
    def prefix_length(self) -> int:
        """Number of prefix steps, padding included."""
        return 0 if self.prefix is None else self.prefix.shape[1]


def build_conditioning(
    model: MusicGen,
    tokenize: Tokenize,
    rows: Sequence[Row],
    chroma: Tensor | None,
    style: Tensor | None = None,
    encode: EncodeTokens | None = None,
) -> Conditioning:
    """Encode each distinct prompt once and arrange the results as decoder inputs.

    `chroma`: (frames, bins) of the melody shared by all rows, or None. `style`: states (1,
    length, hidden) shared by all rows, or None. `encode`: in place of the model's text encoder.
    """
    prompts = {row.prompt for row in rows} | {row.negative_prompt for row in rows}
    states = {prompt: _encode_prompt(model, tokenize, prompt, encode) for prompt in sorted(prompts)}
    guided = find_guided(rows, chroma is not None or style is not None)
    positive = [states[row.prompt] for row in rows]
    negative = [states[rows[i].negative_prompt] for i in guided]
    if model.config.family == "text":
        # Without a negative prompt the unconditional rows need no cross-attention.
        prompted = (
            [*positive, *negative] if any(row.negative_prompt.strip() for row in rows) else positive
        )
        return Conditioning(len(rows), guided, _build_cross_attention(model, prompted))
    if model.config.family == "style":
        melody = model.encode_style(None) if style is None else style
        silence = torch.zeros_like(melody)
    else:
        if chroma is not None:
            chroma = upload(chroma, model.device)
        melody, silence = model.encode_chroma(chroma), model.encode_chroma(None)
    styled = find_styled(rows, style is not None)
    prefixes = [torch.cat([melody, state], dim=1) for state in positive]
    prefixes += [torch.cat([silence, _select_negative(states, rows[i])], dim=1) for i in guided]
    prefixes += [torch.cat([melody, torch.zeros_like(positive[i])], dim=1) for i in styled]
    prefix, padded = _pad_left(prefixes)
    padding = upload(padded, prefix.device) if padded else None
    return Conditioning(len(rows), guided, None, prefix, padding, styled, padded)


def _select_negative(states: Mapping[str, Tensor], row: Row) -> Tensor:
    """Return the text states of the negative prompt, or zeros as long as the prompt's states."""
    negative = row.negative_prompt
    return states[negative] if negative.strip() else torch.zeros_like(states[row.prompt])


def _encode_prompt(
    model: MusicGen, tokenize: Tokenize, prompt: str, encode: EncodeTokens | None
) -> Tensor:
    if not prompt.strip():
        return model.build_null_text_states()
    if encode is not None:
        return encode(tokenize(prompt))
    return model.encode_text(upload([tokenize(prompt)], model.device))


def _build_cross_attention(model: MusicGen, states: Sequence[Tensor]) -> CrossAttentionCache:
    lengths = [state.shape[1] for state in states]
    longest = max(lengths)
    padded = torch.cat([F.pad(state, (0, 0, 0, longest - state.shape[1])) for state in states])
    return model.decoder.build_cross_attention_cache(padded, lengths)


def _pad_left(prefixes: Sequence[Tensor]) -> tuple[Tensor, tuple[int, ...] | None]:
    """Pad all prefixes to the longest. Returns: the prefix, and the padded steps if any."""
    longest = max(prefix.shape[1] for prefix in prefixes)
    padding = [longest - prefix.shape[1] for prefix in prefixes]
    padded = torch.cat(
        [F.pad(prefix, (0, 0, left, 0)) for prefix, left in zip(prefixes, padding, strict=True)]
    )
    return padded, tuple(padding) if any(padding) else None
