"""An overlay of infra/k8s on the cluster that kubectl's context names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.deploy import cluster
from infra.deploy.shell import answer, ask, step
from infra.deploy.target import Check, DeployError, Step

FOLDER = Path("infra/k8s/overlays")
NAMESPACE = "musicgen"
REVISION = "deployment.kubernetes.io/revision"
TIMEOUT = "30m"
"""A new worker may wait for a node, an image and its weights."""
PLACEHOLDER = "musicgen-placeholder"
"""Waits for a GPU that is free: nobody waits for it."""


class Kubernetes:
    """A release is `NAME=REVISION` of each Deployment, as `kubectl rollout history` counts them.
    Settings are part of it: each change of them is a ConfigMap with a name of its own."""

    def __init__(self, overlay: str, context: str | None = None, gpus_come: bool = False) -> None:
        self._folder = str(FOLDER / overlay)
        self._gpus_come = gpus_come
        self._kubectl = ("kubectl", *(("--context", context) if context else ()))
        self.name = f"kubernetes/{context or self._current_context()}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        status, said = ask(*self._kubectl, "version", "--output=json")
        yield Check("cluster", status == 0, self.name if status == 0 else said)
        if status:
            return
        for verb in ("create", "patch"):
            yield self._may(verb)
        if not builds:
            return
        yield cluster.manifests(self._objects)
        yield cluster.filled_in(self._objects)
        kinds = answer(*self._kubectl, "api-versions").split()
        yield cluster.kinds(self._objects, kinds)
        yield from cluster.secrets(self._objects, self._secret)
        nodes = json.loads(answer(*self._kubectl, "get", "nodes", "--output=json"))
        yield cluster.gpus(self._objects, nodes["items"], self._gpus_come)

    def standing(self) -> str | None:
        found = json.loads(self._get("deployments", "--output=json"))["items"]
        ours = {each["metadata"]["name"] for each in self._deployments()}
        revisions = {
            each["metadata"]["name"]: each["metadata"].get("annotations", {}).get(REVISION, "0")
            for each in found
            if each["metadata"]["name"] in ours
        }
        return " ".join(f"{name}={revisions[name]}" for name in sorted(revisions)) or None

    def wanted(self) -> str | None:
        """The cluster finds out by itself what differs."""
        return None

    def preview(self) -> str:
        """`kubectl diff`, whose status is 1 where something differs."""
        diff = (*self._kubectl, "diff", "--server-side", "-f", "-")
        status, said = ask(*diff, text=self._rendered, fine=(0, 1))
        if status > 1:
            raise DeployError(said)
        return said or "nothing differs"

    def steps(self, release: str | None) -> list[Step]:
        if release is not None:
            return [*self._undo(release), *self._waits(_revisions(release))]
        source = f"kubectl kustomize {self._folder}"
        apply = (*self._kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-")
        names = [each["metadata"]["name"] for each in self._deployments()]
        return [step(*apply, text=self._rendered, fed_by=source), *self._waits(names)]

    def _undo(self, release: str) -> list[Step]:
        now = _revisions(self.standing() or "")
        undo = (*self._kubectl, "--namespace", NAMESPACE, "rollout", "undo")
        return [
            step(*undo, f"deployment/{name}", f"--to-revision={number}")
            for name, number in _revisions(release).items()
            if now.get(name) != number
        ]

    def _waits(self, names: Iterable[str]) -> list[Step]:
        wait = (*self._kubectl, "--namespace", NAMESPACE, "rollout", "status")
        return [
            step(*wait, f"deployment/{name}", f"--timeout={TIMEOUT}")
            for name in names
            if name != PLACEHOLDER
        ]

    def _deployments(self) -> list[Any]:
        return [each for each in self._objects if each["kind"] == "Deployment"]

    @cached_property
    def _rendered(self) -> str:
        return answer("kubectl", "kustomize", self._folder)

    @cached_property
    def _objects(self) -> list[dict[str, Any]]:
        import yaml

        return [each for each in yaml.safe_load_all(self._rendered) if each]

    def _may(self, verb: str) -> Check:
        may = (*self._kubectl, "--namespace", NAMESPACE, "auth", "can-i", verb, "deployments.apps")
        status, said = ask(*may)
        return Check(f"may {verb} deployments", status == 0, said)

    def _secret(self, name: str) -> dict[str, str] | None:
        status, said = ask(
            *self._kubectl, "--namespace", NAMESPACE, "get", "secret", name, "--output=json"
        )
        return json.loads(said).get("data", {}) if status == 0 else None

    def _get(self, *what: str) -> str:
        return answer(*self._kubectl, "--namespace", NAMESPACE, "get", *what)

    def _current_context(self) -> str:
        status, said = ask("kubectl", "config", "current-context")
        return said if status == 0 else "no context"


def _revisions(release: str) -> dict[str, str]:
    """Raises: `DeployError`."""
    found = dict(part.partition("=")[::2] for part in release.split())
    if not all(number.isdigit() for number in found.values()):
        raise DeployError(f"{release!r} is not NAME=REVISION NAME=REVISION")
    return found
