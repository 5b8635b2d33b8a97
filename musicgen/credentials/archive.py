"""Describe an input audio with its credentials, as an archive of c2pa."""

from __future__ import annotations

import io
import json
from typing import Any

from musicgen.audio.marking import GENERATED
from musicgen.credentials.claim import INGREDIENT
from musicgen.credentials.library import open_context
from musicgen.credentials.report import find_content_type, read_credentials

TITLE = "input audio"
"""Instead of the file's name, which a caller may not want to publish."""


def build_archive(data: bytes, relation: str) -> tuple[dict[str, Any], bytes]:
    """Return facts about an input audio, and its archive.

    The archive holds the file's manifests with the result of their validation, and no sound. A file
    of a format that cannot carry credentials, or a damaged one, has a title and a relation only.
    """
    import c2pa

    report = read_credentials(data)
    content_type = find_content_type(data)
    fields = {"title": TITLE, "relationship": relation, "instance_id": INGREDIENT}
    with_manifest = report.state != "none" and report.manifest is not None
    facts = {
        "has_credentials": with_manifest,
        "is_generated": report.state in ("valid", "trusted")
        and set(report.source_types) == {GENERATED},
    }
    context, target = open_context(), io.BytesIO()
    if content_type is not None:
        try:
            with c2pa.Builder("{}", context=context) as builder:
                ingredient = json.dumps({**fields, "label": INGREDIENT})
                builder.add_ingredient_from_stream(ingredient, content_type, io.BytesIO(data))
                builder.write_ingredient_archive(INGREDIENT, target)
                return facts, target.getvalue()
        except c2pa.C2paError:
            target = io.BytesIO()
    definition = json.dumps(
        {"ingredients": [{**fields, "label": INGREDIENT, "format": "application/octet-stream"}]}
    )
    with c2pa.Builder(definition, context=context) as builder:
        builder.write_ingredient_archive(INGREDIENT, target)
    return {"has_credentials": False, "is_generated": False}, target.getvalue()
