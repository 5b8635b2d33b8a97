"""The checkpoints that can be named, with what a user must know before choosing one.

Imports no torch: the figures are constants, held by a test against the published shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MUSICGEN_LICENCE = "CC-BY-NC-4.0"
DEMO_LICENCE = "Apache-2.0"
UNKNOWN_LICENCE = "unknown: see the checkpoint's own page"
DEMO = "demo"


@dataclass(frozen=True)
class CatalogEntry:
    """`source`: a hub name, or "package" for the embedded one. Memory is bytes for one 30 s clip
    with guidance, weights included."""

    name: str
    source: str
    family: Literal["text", "melody"]
    channels: int
    licence: str
    parameters: int
    memory: dict[str, int]


def _published(
    name: str,
    family: Literal["text", "melody"],
    channels: int,
    parameters: int,
    float32: int,
    bfloat16: int,
) -> CatalogEntry:
    return CatalogEntry(
        name,
        f"facebook/musicgen-{name}",
        family,
        channels,
        MUSICGEN_LICENCE,
        parameters,
        {"float32": float32, "bfloat16": bfloat16},
    )


CATALOG: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(DEMO, "package", "text", 1, DEMO_LICENCE, 0, {}),
        _published("small", "text", 1, 587_925_313, 3_924_565_252, 2_790_485_252),
        _published("medium", "text", 1, 2_006_291_777, 10_777_679_108, 6_217_829_636),
        _published("large", "text", 1, 3_424_510_785, 17_040_379_140, 9_349_967_108),
        _published("melody", "melody", 1, 1_553_179_457, 8_965_229_828, 5_311_644_932),
        _published("melody-large", "melody", 1, 2_619_034_433, 13_818_473_732, 7_739_067_652),
        _published("stereo-small", "text", 2, 604_706_625, 3_991_690_500, 2_824_047_876),
        _published("stereo-medium", "text", 2, 2_031_463_745, 10_878_366_980, 6_268_173_572),
        _published("stereo-large", "text", 2, 3_458_073_409, 17_174_629_636, 9_417_092_356),
        _published("stereo-melody", "melody", 2, 1_578_351_425, 9_065_917_700, 5_361_988_868),
        _published(
            "stereo-melody-large", "melody", 2, 2_652_597_057, 13_952_724_228, 7_806_192_900
        ),
    )
}


def find(name: str) -> CatalogEntry | None:
    """The entry that `name` means: "small", "musicgen-small" or "facebook/musicgen-small"."""
    short = name.removeprefix("facebook/").removeprefix("musicgen-")
    return CATALOG.get(short)
