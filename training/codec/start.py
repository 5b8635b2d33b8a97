"""Block-PCA start: a codec with good reconstructions before any training.

With PyTorch's own initialisation a codec of this size learns nothing for tens of minutes. Here each
strided convolution of the encoder keeps the principal components of its input blocks (a
hierarchical Karhunen-Loeve transform). The mirrored convolution of the decoder is its transpose,
and everything between is nearly the identity. The scale of the signals makes ELU nearly linear.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from musicgen.model.encodec import Codec, Conv, ConvTranspose, ResidualBlock

ACTIVATION_STD = 0.25
RESIDUAL_GAIN = 0.1
LSTM_GAIN = 0.3


@torch.no_grad()
def pca_start(codec: Codec, clips: Tensor, generator: torch.Generator) -> None:
    """Set all weights except the codebooks from `clips` (batch, 1, samples) of similar level."""
    _near_identity(codec, generator)
    mirrors = [m for m in reversed(codec.decoder) if isinstance(m, (Conv, ConvTranspose))]
    signal = clips
    for layer in codec.encoder:
        if isinstance(layer, Conv):
            _set_pair(layer, mirrors.pop(0), signal, generator)
        signal = layer(signal)


def _near_identity(codec: Codec, generator: torch.Generator) -> None:
    for module in codec.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            _uniform(module.weight, module.weight[0].numel() ** -0.5, generator)
            assert module.bias is not None
            module.bias.zero_()
        elif isinstance(module, nn.LSTM):
            for name, parameter in module.named_parameters():
                _uniform(parameter, LSTM_GAIN * module.hidden_size**-0.5, generator)
                if name.startswith("bias"):
                    parameter.zero_()
    for module in codec.modules():
        if isinstance(module, ResidualBlock):
            module.widen.conv.weight.mul_(RESIDUAL_GAIN)


def _set_pair(layer: Conv, mirror: nn.Module, signal: Tensor, generator: torch.Generator) -> None:
    """Set `layer` to the components of `signal`, and `mirror` to the inverse."""
    if signal.shape[1] == 1:
        _set_ends(layer, mirror, signal, generator)
        return
    assert isinstance(mirror, (Conv, ConvTranspose))
    weight, ratio = layer.conv.weight, layer.stride
    # A strided layer sees its own block and parts of both neighbours; the bottleneck one frame.
    left = ratio - ratio // 2 if ratio > 1 else weight.shape[2] // 2
    basis = _components(_blocks(signal, ratio), weight.shape[0], generator)
    kept = basis.view(signal.shape[1], ratio, weight.shape[0]).permute(2, 0, 1)
    weight.zero_()
    weight[:, :, left : left + ratio] = kept
    scale = ACTIVATION_STD / layer(signal).std()
    weight.mul_(scale)
    mirror.conv.weight.zero_()
    if isinstance(mirror, ConvTranspose):
        mirror.conv.weight[:, :, left : left + ratio] = kept / scale
    else:
        mirror.conv.weight[:, :, left : left + 1] = kept.transpose(0, 1) / scale


def _set_ends(first: Conv, last: nn.Module, signal: Tensor, generator: torch.Generator) -> None:
    """Set orthonormal columns and their time-reversed transpose: together, no change."""
    assert isinstance(last, Conv)
    channels, _, taps = first.conv.weight.shape
    columns = torch.linalg.qr(torch.randn(channels, taps, generator=generator)).Q
    first.conv.weight.copy_(columns[:, None])
    scale = ACTIVATION_STD / first(signal).std()
    first.conv.weight.mul_(scale)
    last.conv.weight.copy_(columns.flip(1)[None] / (taps * scale))


def _blocks(signal: Tensor, ratio: int) -> Tensor:
    """Reshape (batch, channels, time) to (blocks, channels * ratio)."""
    whole = signal[..., : signal.shape[-1] // ratio * ratio]
    cut = whole.unflatten(-1, (-1, ratio))
    return cut.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def _components(blocks: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the strongest directions (dimensions, count), rotated to equal strength."""
    _, vectors = torch.linalg.eigh(blocks.t() @ blocks / len(blocks))
    strongest = vectors[:, -count:]
    missing = count - strongest.shape[1]
    if missing > 0:
        strongest = torch.cat([strongest, torch.zeros(len(strongest), missing)], dim=1)
    return strongest @ torch.linalg.qr(torch.randn(count, count, generator=generator)).Q


def _uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
