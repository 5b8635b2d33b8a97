"""Catalog of checkpoints with a name: source, licence, size and memory.

Imports no torch: the figures are constants, and a test compares them with the published shapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MUSICGEN_LICENCE = "CC-BY-NC-4.0"
DEMO_LICENCE = "Apache-2.0"
UNKNOWN_LICENCE = "unknown: see the checkpoint's own page"
DEMO = "demo"
DIFFUSION = "facebook/multiband-diffusion"
"""Hub name of the models of multi-band diffusion. Their licence is `MUSICGEN_LICENCE` by the text
of their card; its front matter says cc-by-4.0, which is not relied on."""
MERT = "m-a-p/MERT-v1-95M"
"""Hub name of the feature extractor of style models. Its licence is `MUSICGEN_LICENCE`."""
DIFFUSION_FILE = "mbd_musicgen_32khz.th"
DIFFUSION_SAMPLE_RATE = 32_000
_PRECISIONS = ("float32", "bfloat16", "int8", "int4")


@dataclass(frozen=True)
class CatalogEntry:
    """Checkpoint with a name.

    `source` is a hub name, or "package" for the embedded one. `memory` is in bytes by precision,
    for one clip of `window_seconds` with guidance, weights included. `text_encoder`: hub name of
    the text encoder, or of the model with it and the codec, for a model that `musicgen convert`
    must convert first, else None.
    """

    name: str
    source: str
    family: Literal["text", "melody", "style"]
    channels: int
    licence: str
    parameters: int
    memory: dict[str, int]
    sample_rate: int = 32_000
    window_seconds: float = 30.0
    text_encoder: str | None = None


def _build_meta_entry(
    name: str,
    family: Literal["text", "melody"],
    channels: int,
    parameters: int,
    memory: tuple[int, int, int, int],
) -> CatalogEntry:
    return CatalogEntry(
        name,
        f"facebook/musicgen-{name}",
        family,
        channels,
        MUSICGEN_LICENCE,
        parameters,
        dict(zip(_PRECISIONS, memory, strict=True)),
    )


CATALOG: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(DEMO, "package", "text", 1, DEMO_LICENCE, 0, {}),
        _build_meta_entry(
            "small",
            "text",
            1,
            587_925_313,
            (3_109_205_252, 1_975_125_252, 1_850_453_252, 1_262_055_172),
        ),
        _build_meta_entry(
            "medium",
            "text",
            1,
            2_006_291_777,
            (9_962_319_108, 5_402_469_636, 4_449_648_900, 2_470_296_907),
        ),
        _build_meta_entry(
            "large",
            "text",
            1,
            3_424_510_785,
            (16_225_019_140, 8_534_607_108, 6_458_873_092, 3_521_773_746),
        ),
        _build_meta_entry(
            "melody",
            "melody",
            1,
            1_553_179_457,
            (8_149_869_828, 4_496_284_932, 3_996_596_484, 2_184_903_438),
        ),
        _build_meta_entry(
            "melody-large",
            "melody",
            1,
            2_619_034_433,
            (13_003_113_732, 6_923_707_652, 5_653_476_612, 3_014_413_367),
        ),
        _build_meta_entry(
            "stereo-small",
            "text",
            2,
            604_706_625,
            (3_180_170_500, 2_012_527_876, 1_871_074_564, 1_276_467_398),
        ),
        _build_meta_entry(
            "stereo-medium",
            "text",
            2,
            2_031_463_745,
            (10_066_846_980, 5_456_653_572, 4_478_660_868, 2_489_995_247),
        ),
        _build_meta_entry(
            "stereo-large",
            "text",
            2,
            3_458_073_409,
            (16_363_109_636, 8_605_572_356, 6_496_275_716, 3_546_758_199),
        ),
        _build_meta_entry(
            "stereo-melody",
            "melody",
            2,
            1_578_351_425,
            (8_254_397_700, 4_550_468_868, 4_025_608_452, 2_204_601_778),
        ),
        _build_meta_entry(
            "stereo-melody-large",
            "melody",
            2,
            2_652_597_057,
            (13_141_204_228, 6_994_672_900, 5_690_879_236, 3_039_397_820),
        ),
    )
}
"""Models that load by their name."""

CONVERTIBLE: dict[str, CatalogEntry] = {
    "audiogen-medium": CatalogEntry(
        "audiogen-medium",
        "facebook/audiogen-medium",
        "text",
        1,
        MUSICGEN_LICENCE,
        2_231_930_561,
        {
            "float32": 9_600_106_244,
            "bfloat16": 5_630_080_772,
            "int8": 4_087_436_036,
            "int4": 2_974_388_043,
        },
        sample_rate=16_000,
        window_seconds=10.0,
        text_encoder="google-t5/t5-large",
    ),
    "musicgen-style": CatalogEntry(
        "musicgen-style",
        "facebook/musicgen-style",
        "style",
        1,
        MUSICGEN_LICENCE,
        1_677_040_961,
        {
            "float32": 9_530_051_844,
            "bfloat16": 5_434_098_948,
            "int8": 5_376_778_500,
            "int4": 2_915_357_454,
        },
        text_encoder="facebook/musicgen-small",
    ),
}
"""Models published in audiocraft's format alone; each loads after `musicgen convert NAME`."""


def describe_licence(licence: str) -> str:
    """Return a licence with its limit, such as "CC-BY-NC-4.0: no commercial use"."""
    return f"{licence}: no commercial use" if forbids_commerce(licence) else licence


def forbids_commerce(licence: str) -> bool:
    """Return whether a licence is a Creative Commons one for non-commercial use."""
    return re.search(r"\bCC-BY-NC\b", licence, re.IGNORECASE) is not None


def find(name: str) -> CatalogEntry | None:
    """Return the entry of "small", "musicgen-small" or "facebook/musicgen-small", or None."""
    short = name.removeprefix("facebook/").removeprefix("musicgen-")
    return CATALOG.get(short)


def describe_conversion(entry: CatalogEntry) -> str:
    """Return what to do before a model of `CONVERTIBLE` loads."""
    return (
        f"{entry.source} is published in audiocraft's format and must be converted once: run "
        f"`musicgen convert {entry.name} -o {entry.name}`, and name the new folder "
        f"./{entry.name} as the model."
    )


def find_convertible(name: str) -> CatalogEntry | None:
    """Return the entry of "audiogen-medium" or "facebook/audiogen-medium", or None."""
    return CONVERTIBLE.get(name.removeprefix("facebook/"))
