"""Claim of a clip: the part of its manifest that this project writes.

Sources: C2PA 2.2, sections 18.15 (actions) and 18.16 (metadata); IPTC's digital source types.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from musicgen import __version__
from musicgen.audio.marking import GENERATED, SOURCE_TYPES

NAME = "musicgen-serverless"
INGREDIENT = "input"
"""Label of the input audio inside a manifest."""
Relation = Literal["parentOf", "inputTo"]
"""`parentOf`: the clip begins with this sound. `inputTo`: the model heard it."""
MIXED = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""Digital source type of a clip that begins with sound of another origin."""
_DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"


@dataclass(frozen=True)
class Claim:
    """Facts that a manifest states: model, licence of its weights, and the input audio's part.

    `relation` None: without an ingredient. `is_parent_generated`: the parent's own credentials
    hold, and say that a model made it. `has_other_beginning`: the clip begins with a sound
    that is no ingredient. `is_conversion`: the file is the parent in another format.
    """

    model: str
    licence: str
    relation: Relation | None = None
    is_parent_generated: bool = False
    has_other_beginning: bool = False
    is_conversion: bool = False

    def to_json(self, content_type: str) -> str:
        """Return the definition of the manifest, as c2pa's builder takes it."""
        actions = {"label": "c2pa.actions.v2", "data": {"actions": self._build_actions()}}
        rights = f"{self.licence} (licence of the model's weights)"
        metadata = {
            "label": "cawg.metadata",
            "data": {"@context": {"dc": _DUBLIN_CORE}, "dc:rights": rights},
        }
        return json.dumps(
            {
                "claim_generator_info": [{"name": NAME, "version": __version__}],
                "format": content_type,
                "assertions": [actions, metadata],
            }
        )

    def _build_actions(self) -> list[dict[str, Any]]:
        made: dict[str, Any] = {
            "action": "c2pa.created",
            "digitalSourceType": GENERATED,
            "softwareAgent": {"name": self.model},
            "when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        heard = {"parameters": {"ingredientIds": [INGREDIENT]}}
        if self.relation is None:
            return [made | {"digitalSourceType": MIXED}] if self.has_other_beginning else [made]
        if self.relation == "inputTo":
            return [made | heard]
        kind = GENERATED if self.is_parent_generated else MIXED
        action = "c2pa.transcoded" if self.is_conversion else "c2pa.edited"
        edited = made | {"action": action, "digitalSourceType": kind}
        return [{"action": "c2pa.opened"} | heard, edited]
