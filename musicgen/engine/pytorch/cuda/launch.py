"""Options of a GPU's launches beside the decode steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LaunchOptions:
    """How a GPU's other work is launched.

    `prompt_graphs`: run the text encoder as CUDA graphs. `codec_graphs`: the same for the pieces of
    a stream. `codec_stream`: decode sound in a CUDA stream of its own, beside the steps.
    """

    prompt_graphs: bool = False
    codec_graphs: bool = False
    codec_stream: bool = False

    def __bool__(self) -> bool:
        """Whether any is on."""
        return self.prompt_graphs or self.codec_graphs or self.codec_stream


NO_GRAPHS = LaunchOptions()
