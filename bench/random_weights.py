"""Random weights to make a MusicGen model behave like a trained one in tests.

Stock initialisation (std 0.02, zero biases, unit norms, zero codebooks) makes the rows of logits
nearly equal: greedy decoding repeats one token, and prompts hardly matter. It also hides every
mistake in a bias or a norm. Here no tensor stays at zero or one, activations keep unit scale
through the depth, and the codec is calibrated on its own output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AUDIO_STD = 0.2
# Well above the layers' contributions, of order 1: else greedy decoding settles on one token.
TOKEN_STD = 2.0
HEAD_GAIN = 3.0
ATTENTION_GAIN = 1.5
CONV_GAIN = 1.4


@torch.no_grad()
def randomise(model: PreTrainedModel, *, seed: int) -> None:
    """Give every parameter and codebook of `model` a new value, in place.

    `model` is float32 and on one device; its memory may be uninitialised. Equal seeds give equal
    weights on one kind of device only: a GPU draws other numbers than the CPU, and billions of them
    in a second.

    Raises: `RuntimeError` for a parameter without a rule.
    """
    draw = _Draw(seed, model.device)
    visited: set[int] = set()
    for name, module in model.named_modules():
        rule = _rule(name, module)
        if rule is not None:
            rule(draw, name, module, model.config)
            visited |= {id(parameter) for parameter in module.parameters()}
    missed = [name for name, value in model.named_parameters() if id(value) not in visited]
    if missed:
        raise RuntimeError(f"no initialisation rule for {', '.join(missed[:5])}")
    _calibrate_codec(draw, model.audio_encoder)


class _Draw:
    """Normal and uniform numbers from one generator, apart from the global one."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)

    def normal(self, tensor: Tensor, std: float, mean: float = 0.0) -> None:
        tensor.normal_(mean, std, generator=self._generator)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * self._rand(shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self._generator, device=self.device)

    def _rand(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self.device)


_Rule = Callable[[_Draw, str, Any, Any], None]


def _rule(name: str, module: nn.Module) -> _Rule | None:
    rules: tuple[tuple[type[nn.Module], _Rule], ...] = (
        (nn.Linear, _linear),
        (nn.Embedding, _embedding),
        (nn.LayerNorm, _norm),
        (nn.Conv1d, _conv),
        (nn.ConvTranspose1d, _conv),
        (nn.LSTM, _lstm),
    )
    for kind, rule in rules:
        if isinstance(module, kind):
            return rule
    named = {"T5LayerNorm": _norm, "EncodecEuclideanCodebook": _codebook}
    return named.get(type(module).__name__)


def _linear(draw: _Draw, name: str, linear: nn.Linear, config: Any) -> None:
    gain = 1.0
    if "lm_heads" in name:
        gain = HEAD_GAIN
    elif name.endswith(("q_proj", "k_proj")):
        gain = ATTENTION_GAIN
    elif name.endswith("SelfAttention.q"):
        gain = config.text_encoder.d_kv**-0.5  # T5 does not scale its attention scores
    elif name == "audio_enc_to_dec_proj":
        gain = linear.in_features**0.5  # its input is one-hot
    draw.normal(linear.weight, gain * linear.in_features**-0.5)
    if linear.bias is not None:
        draw.normal(linear.bias, 0.3)


def _embedding(draw: _Draw, name: str, embedding: nn.Embedding, config: Any) -> None:
    std = 1.0
    if name.endswith("relative_attention_bias"):
        std = 0.5
    elif ".embed_tokens." in name and name.startswith("decoder."):
        std = TOKEN_STD
    draw.normal(embedding.weight, std)


def _norm(draw: _Draw, name: str, norm: nn.LayerNorm, config: Any) -> None:
    draw.normal(norm.weight, 0.1, mean=1.0)
    if getattr(norm, "bias", None) is not None:
        draw.normal(norm.bias, 0.1)


def _conv(draw: _Draw, name: str, conv: nn.Conv1d | nn.ConvTranspose1d, config: Any) -> None:
    taps = conv.kernel_size[0]
    if isinstance(conv, nn.ConvTranspose1d):
        taps /= conv.stride[0]
    weight = torch.empty_like(conv.weight)
    draw.normal(weight, CONV_GAIN * (conv.in_channels * taps) ** -0.5)
    conv.weight = weight
    draw.normal(conv.bias, 0.1)
    if hasattr(conv, "parametrizations"):
        # The length of v is free, since weight = g v / |v|. A random length makes the tests detect
        # a loader of v instead of the weight.
        direction = conv.parametrizations.weight.original1
        direction *= draw.uniform(direction.shape[0], 1, 1, low=0.5, high=2.0)


def _lstm(draw: _Draw, name: str, lstm: nn.LSTM, config: Any) -> None:
    for parameter_name, parameter in lstm.named_parameters():
        is_weight = parameter_name.startswith("weight")
        draw.normal(parameter, lstm.hidden_size**-0.5 if is_weight else 0.1)


def _codebook(draw: _Draw, name: str, codebook: nn.Module, config: Any) -> None:
    depth = int(name.split(".")[-2])
    codebook.inited.fill_(1.0)
    codebook.cluster_size.copy_(draw.uniform(codebook.codebook_size, low=1.0, high=9.0))
    draw.normal(codebook.embed, 0.8**depth)
    codebook.embed_avg.copy_(codebook.embed * codebook.cluster_size[:, None])


def _calibrate_codec(draw: _Draw, codec: PreTrainedModel) -> None:
    """Rescale the last convolutions to music-like levels.

    Codes then decode to the levels of music, noise encodes to latents with the size of the first
    codebook, and both have zero mean.
    """
    codec.eval()
    config = codec.config
    frames = 50
    codes = draw.integers(config.codebook_size, 1, config.num_quantizers, frames)
    audio = codec.decode(codes[None], [None]).audio_values
    _rescale(codec.decoder.layers[-1].conv, audio, AUDIO_STD)
    noise = torch.empty(1, config.audio_channels, frames * config.hop_length, device=draw.device)
    draw.normal(noise, AUDIO_STD)
    _rescale(codec.encoder.layers[-1].conv, codec.encoder(noise), 1.0)


def _rescale(conv: nn.Conv1d, outputs: Tensor, std: float) -> None:
    """Rescale `conv` from its `outputs` (batch, channels, time) to mean 0 and `std`."""
    factors = std / outputs.std(dim=(0, 2))
    bias = factors * (conv.bias - outputs.mean(dim=(0, 2)))
    conv.weight = conv.weight * factors[:, None, None]
    conv.bias.copy_(bias)
