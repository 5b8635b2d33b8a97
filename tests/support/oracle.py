"""transformers' MusicGen, wrapped so that tests can ask for tokens, logits, states and audio.

Codes are (batch, codebooks, frames) without delay; a stereo model interleaves its channels in the
codebooks: left 0, right 0, left 1, right 1 ... Every function runs without gradients.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch import LongTensor, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Oracle(NamedTuple):
    """A loaded checkpoint. Tests share it and change neither part."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model of a checkpoint folder, in evaluation mode."""
    import transformers as hf

    kinds = {
        "musicgen": hf.MusicgenForConditionalGeneration,
        "musicgen_melody": hf.MusicgenMelodyForConditionalGeneration,
    }
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    return kinds[model_type].from_pretrained(folder, dtype=dtype).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def greedy_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    frames: int,
    guidance: float,
    audio_codes: Tensor | None = None,
    chroma: Tensor | None = None,
) -> LongTensor:
    """The most likely codes: (batch, codebooks, frames).

    `audio_codes`, (batch, codebooks, prompt frames), are continued; `frames` counts them, and they
    open the result. `chroma`, (batch, chroma frames, bins), is for the melody families.
    `guidance` 1 runs without the unconditional half.
    """
    delay = _delay_steps(model)
    prompt_frames = 0 if audio_codes is None else audio_codes.shape[-1]
    if guidance < 1:
        raise ValueError("transformers means something else by a guidance below 1")
    if frames < delay:
        raise ValueError(f"transformers does not delay sequences shorter than {delay} frames")
    if frames < prompt_frames:
        raise ValueError(f"{frames} frames cannot hold {prompt_frames} frames of prompt")
    inputs = _inputs(tokenizer, prompts, chroma)
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    if audio_codes is not None:
        inputs["decoder_input_ids"] = audio_codes.reshape(-1, prompt_frames)
    recorder = _Recorder(audio_channels=model.config.decoder.audio_channels)
    with patch.object(model.audio_encoder, "decode", recorder):
        model.generate(
            **inputs,
            do_sample=False,
            guidance_scale=float(guidance),
            max_new_tokens=frames - prompt_frames + delay,
        )
    return recorder.codes()


@torch.no_grad()
def teacher_forced_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    tokens: Tensor,
    chroma: Tensor | None = None,
) -> Tensor:
    """Logits (batch, codebooks, steps, vocabulary) of one forward pass, without guidance.

    `tokens` are decoder inputs (batch, codebooks, steps): delayed, the start token first, as
    `delayed` makes them. Logits at step t are those that choose the token at step t + 1.
    """
    steps = tokens.shape[-1]
    inputs = _inputs(tokenizer, prompts, chroma)
    logits = model(**inputs, decoder_input_ids=tokens.reshape(-1, steps)).logits
    # The melody families put the conditioning in front of the tokens.
    return logits[:, -steps:].unflatten(0, tokens.shape[:2])


def delayed(model: PreTrainedModel, codes: Tensor) -> LongTensor:
    """Codes (batch, codebooks, frames) as the decoder sees them, up to the last frame of the last
    codebook: (batch, codebooks, frames + codebooks of a channel)."""
    start = model.generation_config.decoder_start_token_id
    padded = torch.nn.functional.pad(codes, (1, 0), value=start)
    length = codes.shape[-1] + _delay_steps(model) + 1
    _, pattern = model.decoder.build_delay_pattern_mask(
        padded.flatten(0, 1), pad_token_id=start, max_length=length
    )
    return pattern.unflatten(0, codes.shape[:2])


@torch.no_grad()
def text_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str]
) -> tuple[Tensor, Tensor]:
    """T5's last states (batch, tokens, text width), before any projection, and the mask (batch,
    tokens) that is 0 where a prompt is padded. States there mean nothing."""
    inputs = _inputs(tokenizer, prompts, None)
    return model.text_encoder(**inputs).last_hidden_state, inputs["attention_mask"]


@torch.no_grad()
def encodec_decode(model: PreTrainedModel, codes: Tensor) -> Tensor:
    """Codes (batch, codebooks, frames) as audio (batch, channels, samples)."""
    channels = model.config.decoder.audio_channels
    decode = model.audio_encoder.decode
    audio = [
        decode(codes[None, :, channel::channels], [None]).audio_values
        for channel in range(channels)
    ]
    return torch.cat(audio, dim=1)


@torch.no_grad()
def encodec_encode(model: PreTrainedModel, waveform: Tensor) -> LongTensor:
    """Audio (batch, channels, samples) as codes (batch, codebooks, frames)."""
    encode = model.audio_encoder.encode
    channels = [encode(channel[:, None]).audio_codes[0] for channel in waveform.unbind(1)]
    return torch.stack(channels, dim=2).flatten(1, 2)


class _Recorder:
    """Stands in for `EncodecModel.decode`: keeps the codes of each call, decodes nothing."""

    def __init__(self, audio_channels: int) -> None:
        self._audio_channels = audio_channels
        self._calls: list[Tensor] = []

    def __call__(self, audio_codes: Tensor, audio_scales: Any) -> SimpleNamespace:
        self._calls.append(audio_codes[0])
        return SimpleNamespace(audio_values=torch.zeros(audio_codes.shape[1], 1, 1))

    def codes(self) -> LongTensor:
        """(batch, codebooks, frames): left and right calls interleaved."""
        if len(self._calls) != self._audio_channels:
            raise RuntimeError(f"{len(self._calls)} decoder calls, expected one per channel")
        return torch.stack(self._calls, dim=2).flatten(1, 2)


def _delay_steps(model: PreTrainedModel) -> int:
    """Steps by which the last codebook of a channel trails the first one."""
    decoder = model.config.decoder
    return decoder.num_codebooks // decoder.audio_channels - 1


def _inputs(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], chroma: Tensor | None
) -> dict[str, Tensor]:
    inputs = dict(tokenizer(prompts, padding=True, return_tensors="pt"))
    if chroma is not None:
        inputs["input_features"] = chroma
    return inputs
