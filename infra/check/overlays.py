"""Every overlay as the cluster would get it: rendered, of known shape, and sensible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.check import manifests
from infra.check.objects import Objects, named
from infra.check.schemas import SCHEMAS
from infra.check.tools import ROOT, run

OVERLAYS = ("local", "production", "spot")
COMPONENTS_ALONE = ("external-secrets", "weights-volume", "tracing", "relay")
"""In no overlay: checked in production."""
KUBERNETES = "1.34"
FOLDER = ROOT / "infra/k8s"


def problems() -> list[str]:
    return [f"{name}: {each}" for name, objects in every().items() for each in problems_of(objects)]


def every() -> dict[str, list[dict[str, Any]]]:
    """All overlays, and production with each component that is in none, by what they are called."""
    found = {name: rendered(FOLDER / "overlays" / name) for name in OVERLAYS}
    for name in COMPONENTS_ALONE:
        found[f"production with {name}"] = rendered(_with_component(name))
    return found


def problems_of(objects: Objects) -> list[str]:
    """Objects of the wrong shape first: of those nothing more can be said."""
    return list(_malformed(objects)) or manifests.problems(objects)


def rendered(folder: Path) -> list[dict[str, Any]]:
    """Raises: ValueError with what kubectl said."""
    status, output = run("kubectl", "kustomize", str(folder))
    if status:
        raise ValueError(f"{folder.name}: {output}")
    return [each for each in yaml.safe_load_all(output) if each]


def _with_component(name: str) -> Path:
    """Production with one more component, in a folder that git does not know."""
    folder = FOLDER / "overlays" / f".with-{name}"
    folder.mkdir(exist_ok=True)
    production = FOLDER / "overlays/production/kustomization.yaml"
    overlay = yaml.safe_load(production.read_text(encoding="utf-8"))
    overlay["components"].append(f"../../components/{name}")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return folder


def _malformed(objects: Objects) -> Iterator[str]:
    for each in objects:
        schema = SCHEMAS.get(each["kind"])
        yield from _of_kubernetes(each) if schema is None else _by_schema(each, schema)


def _of_kubernetes(each: Mapping[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(dict(each), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{named(each)}: {'.'.join(map(str, error.path))}: {error.message}"
    except (kubernetes_validate.InvalidSchemaError, kubernetes_validate.utils.SchemaNotFoundError):
        yield f"{named(each)}: infra/check/schemas.py does not know its kind"


def _by_schema(each: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(each):
        yield f"{named(each)}: {error.json_path}: {error.message}"
