"""Checks of every rendered overlay: known schemas first, then consistent contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.check import manifests
from infra.check.objects import Objects, describe
from infra.check.schemas import SCHEMAS
from infra.check.tools import ROOT, run

OVERLAYS = ("local", "production", "spot")
COMPONENTS_ALONE = (
    "external-secrets",
    "weights-volume",
    "tracing",
    "relay",
    "request-scaling",
    "load-balancer",
    "bucket-endpoint",
    "identity-eks",
    "identity-gke",
)
"""Components without an overlay, checked in production."""
KUBERNETES = ("1.34", "1.37")
"""Oldest and newest version with a schema of all objects here: fields come, and some go."""
FOLDER = ROOT / "infra/k8s"


def problems() -> list[str]:
    """Return the problems of all overlays, each with the overlay's name."""
    return [
        f"{name}: {problem}"
        for name, objects in render_all().items()
        for problem in problems_of(objects)
    ]


def render_all() -> dict[str, list[dict[str, Any]]]:
    """Return the objects by name: all overlays, and production with each other component."""
    overlays = {name: render(FOLDER / "overlays" / name) for name in OVERLAYS}
    for name in COMPONENTS_ALONE:
        overlays[f"production with {name}"] = render(_add_component(name))
    return overlays


def problems_of(objects: Objects) -> list[str]:
    """Return the problems of the schemas, or, without any, those of the contents."""
    return list(_check_schemas(objects)) or manifests.problems(objects)


def render(folder: Path) -> list[dict[str, Any]]:
    """Render an overlay with kubectl.

    Raises: ValueError with kubectl's output.
    """
    status, output = run("kubectl", "kustomize", str(folder))
    if status:
        raise ValueError(f"{folder.name}: {output}")
    return [item for item in yaml.safe_load_all(output) if item]


def _add_component(name: str) -> Path:
    """Write the production overlay with one more component, into a folder ignored by git."""
    folder = FOLDER / "overlays" / f".with-{name}"
    folder.mkdir(exist_ok=True)
    production = FOLDER / "overlays/production/kustomization.yaml"
    overlay = yaml.safe_load(production.read_text(encoding="utf-8"))
    # First, because a component changes only the objects of those before it.
    overlay["components"].insert(0, f"../../components/{name}")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return folder


def _check_schemas(objects: Objects) -> Iterator[str]:
    for item in objects:
        schema = SCHEMAS.get(item["kind"])
        yield from _check_kubernetes(item) if schema is None else _check_schema(item, schema)


def _check_kubernetes(item: Mapping[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(dict(item), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            yield f"{describe(item)}: {path}: {error.message} (Kubernetes {version})"
        except (
            kubernetes_validate.InvalidSchemaError,
            kubernetes_validate.utils.SchemaNotFoundError,
        ):
            yield f"{describe(item)}: unknown kind, add its schema to infra/check/schemas.py"


def _check_schema(item: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(item):
        yield f"{describe(item)}: {error.json_path}: {error.message}"
