"""Model card of an endpoint's repository: the licence, and an example call."""

from __future__ import annotations

import re
from pathlib import Path

from musicgen import catalog
from musicgen.checkpoints.card import render_licence
from musicgen.checkpoints.locate import Source

EXAMPLE = """\
import base64

import httpx

url = "https://YOUR-ENDPOINT.endpoints.huggingface.cloud"
headers = {"Authorization": "Bearer YOUR-TOKEN"}
call = {
    "inputs": "slow calm piano",
    "parameters": {"duration": 8, "seed": 7, "output_format": "mp3"},
}
response = httpx.post(url, json=call, headers=headers, timeout=300)
response.raise_for_status()
[clip] = response.json()["clips"]
with open("clip.mp3", "wb") as file:
    file.write(base64.b64decode(clip["audio"]))
"""
"""A test runs it against an endpoint."""

_CARD = """\
---
{licence}pipeline_tag: text-to-audio
tags:
- musicgen
- music
- endpoints-template
{base_model}---

# MusicGen on an Inference Endpoint

{weights}
The code (`handler.py`, `handlers/`, `musicgen/`) is Apache-2.0: see `musicgen/LICENSE`.

```python
{example}```

With MUSICGEN_BUCKET configured a clip has `url` instead of `audio`.

| `inputs` | meaning |
|---|---|
| a text | the prompt |
| a mapping | request fields, such as `{{"prompt": "calm piano", "seed": 7}}` |
| a list of those | one request for each; the reply is a list |

`parameters` are request fields and apply to every input. To continue a clip or follow a melody, put
a URL, a data URI or base64 into `input_audio`. Or post the file itself with its Content-Type, such
as `audio/wav`, and the parameters in the query:
`?prompt=calm%20piano&continuation=true&duration=12`.

Send Content-Type `application/json` and no Accept: the reply is always JSON. Every error has status
400 and a text beginning with a stable code, such as `invalid_duration: ...`.
"""


def card_of(source: Source) -> str:
    """Return README.md for a repository with this checkpoint."""
    # Only the folder's name: its path is private.
    weights = f"Model: {hub_name(source.name) or Path(source.name).name}. "
    if source.licence == catalog.UNKNOWN_LICENCE:
        weights += "The licence of its weights is unknown: see the checkpoint's own page."
    else:
        weights += f"The licence of its weights is {source.licence}."
    if catalog.forbids_commerce(source.licence):
        weights += " It allows no commercial use."
    origin = hub_name(source.name)
    return _CARD.format(
        licence=render_licence(source.licence),
        base_model=f"base_model: {origin}\n" if origin else "",
        weights=weights,
        example=EXAMPLE,
    )


def hub_name(model: str) -> str | None:
    """Return OWNER/NAME of a model, or None for a folder and for the embedded demo."""
    if model not in catalog.CATALOG and Path(model).is_dir():
        return None
    entry = catalog.find(model)
    if entry is not None:
        return None if entry.source == "package" else entry.source
    is_name = re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not model.startswith(".")
    return model if is_name else None
