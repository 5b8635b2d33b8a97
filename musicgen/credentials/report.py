"""Read and verify the content credentials of a file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from musicgen.audio.mp3_frames import skip_tag
from musicgen.credentials.library import SIGNABLE, open_context

State = Literal["none", "invalid", "valid", "trusted"]
_BOX, _LABEL = b"jumb", b"c2pa"
_DEPTH_MAX = 50
"""Limit of ingredients inside ingredients."""


@dataclass(frozen=True)
class CredentialReport:
    """Credentials of a file.

    `state`: `none` without a manifest; `invalid` for a changed file or a wrong signature; `valid`
    for a signature by an unknown signer, `trusted` by a known one. `problems`: one phrase each.
    `manifest`: the newest manifest, `ingredients` those that it keeps, oldest last.
    """

    state: State
    signer: str | None = None
    signed_at: str | None = None
    source_types: tuple[str, ...] = ()
    licence: str | None = None
    model: str | None = None
    problems: tuple[str, ...] = ()
    ingredients: tuple[Mapping[str, Any], ...] = ()
    manifest: Mapping[str, Any] | None = None


def find_content_type(data: bytes) -> str | None:
    """Return the MIME type of a file that can carry credentials, found by its content, or None."""
    start = 0
    while (after := skip_tag(data, start)) > start:
        start = after
    if data[start : start + 4] == b"RIFF":
        return SIGNABLE["wav"]
    if data[start : start + 4] == b"fLaC":
        return SIGNABLE["flac"]
    is_mp3 = start > 0 or data[:1] == b"\xff"
    return SIGNABLE["mp3"] if is_mp3 else None


def holds_manifest(data: bytes) -> bool:
    """Return whether a file may hold a manifest; False is sure.

    A manifest is in JUMBF boxes, and the outer one has the label c2pa. Source: C2PA 2.2, 11.1.
    """
    return _BOX in data and _LABEL in data


def read_credentials(data: bytes, anchors: str | None = None) -> CredentialReport:
    """Return the credentials of a file. `anchors`: trusted root certificates in PEM.

    Only a file with a manifest needs the library.
    """
    content_type = find_content_type(data)
    if content_type is None or not holds_manifest(data):
        return CredentialReport("none")
    import c2pa

    context = open_context(anchors)
    try:
        with c2pa.Reader(content_type, io.BytesIO(data), context=context) as reader:
            return _build_report(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return CredentialReport("none")
    except c2pa.C2paError as error:
        return CredentialReport("invalid", problems=(str(error),))


def _build_report(store: Mapping[str, Any]) -> CredentialReport:
    manifests: dict[str, Any] = store["manifests"]
    manifest = manifests[store["active_manifest"]]
    signature = manifest.get("signature_info") or {}
    actions = _list_actions(manifest)
    results = store.get("validation_results") or {}
    failures = list(results.get("activeManifest", {}).get("failure", []))
    for delta in results.get("ingredientDeltas", []):
        failures += delta.get("validationDeltas", {}).get("failure", [])
    state = str(store.get("validation_state") or "Invalid").lower()
    return CredentialReport(
        state if state in ("valid", "trusted") else "invalid",  # type: ignore[arg-type]
        signer=signature.get("common_name") or signature.get("issuer"),
        signed_at=signature.get("time"),
        source_types=tuple(
            action["digitalSourceType"] for action in actions if "digitalSourceType" in action
        ),
        licence=_find_licence(manifest),
        model=next((m for action in actions if (m := _find_agent(action))), None),
        problems=tuple(dict.fromkeys(f.get("explanation") or f["code"] for f in failures)),
        ingredients=tuple(_list_ingredients(manifests, manifest)),
        manifest=manifest,
    )


def _list_actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        action
        for assertion in manifest.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]


def _find_agent(action: Mapping[str, Any]) -> str | None:
    agent = action.get("softwareAgent")
    name = agent.get("name") if isinstance(agent, dict) else agent
    return name if isinstance(name, str) else None


def _find_licence(manifest: Mapping[str, Any]) -> str | None:
    for assertion in manifest.get("assertions", []):
        if assertion.get("label") == "cawg.metadata":
            rights = assertion.get("data", {}).get("dc:rights")
            return rights if isinstance(rights, str) else None
    return None


def _list_ingredients(
    manifests: Mapping[str, Any], manifest: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return what each kept manifest says, from the newest to the oldest."""
    found: list[Mapping[str, Any]] = []
    waiting = list(manifest.get("ingredients", []))
    while waiting and len(found) < _DEPTH_MAX:
        ingredient = waiting.pop(0)
        inner = manifests.get(ingredient.get("active_manifest"), {})
        found.append(
            {
                "title": ingredient.get("title"),
                "relation": ingredient.get("relationship"),
                "has_credentials": bool(inner),
                "source_types": [
                    action["digitalSourceType"]
                    for action in _list_actions(inner)
                    if "digitalSourceType" in action
                ],
            }
        )
        waiting += inner.get("ingredients", [])
    return found
