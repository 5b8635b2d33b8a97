"""Deployment of an overlay of infra/k8s to the cluster of a kubectl context."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.check.tools import ROOT, find_tool
from infra.deploy import cluster, neighbours
from infra.deploy.rollout import measure_rollout
from infra.deploy.shell import build_step, read_output, run_command
from infra.deploy.stale import SELECTOR, find_stale
from infra.deploy.target import Check, DeployError, Step

ANSWER_SECONDS = 3
"""Time for the first answer of a cluster."""
FOLDER = Path("infra/k8s/overlays")
NAMESPACE = "musicgen"
REVISION = "deployment.kubernetes.io/revision"
APPLY = ("apply", "--server-side", "--force-conflicts", "-f", "-")
DAEMON = "daemonset/"
"""Prefix of a DaemonSet in a release; a name without it is a Deployment's."""
PLACEHOLDER = "musicgen-placeholder"
"""Stays pending while every GPU is in use, so the rollout does not wait for it."""


class Kubernetes:
    """Overlay in a cluster.

    A release is `NAME=REVISION` of each Deployment, and `daemonset/NAME=REVISION` of each
    DaemonSet, as in `kubectl rollout history`. It includes the settings: each change makes a
    ConfigMap with a new name.
    """

    def __init__(self, overlay: str, context: str | None = None, gpus_come: bool = False) -> None:
        self._folder = str(FOLDER / overlay)
        self._gpus_come = gpus_come
        self._kubectl = ("kubectl", *(("--context", context) if context else ()))
        self.name = f"kubernetes/{context or self._current_context()}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the cluster, the rights, the objects, the Secrets and the GPUs."""
        cluster_check = self._check_cluster()
        yield cluster_check
        if find_tool("kubectl") is None:
            return
        if cluster_check.is_met:
            for verb in ("create", "patch", "delete"):
                yield self._check_right(verb)
        if not builds:
            return
        try:
            yield cluster.check_manifests(self._objects)
        except DeployError as error:
            yield Check("overlay", False, self._explain(error))
            return
        yield cluster.check_placeholders(self._objects)
        if not cluster_check.is_met:
            yield from cluster.list_needs(self._objects)
            return
        yield cluster.check_api_versions(self._objects, self._served)
        yield from cluster.check_secrets(self._objects, self._read_secret)
        nodes = json.loads(read_output(*self._kubectl, "get", "nodes", "--output=json"))
        yield cluster.check_gpus(self._objects, nodes["items"], self._gpus_come)
        namespaces = json.loads(read_output(*self._kubectl, "get", "namespaces", "--output=json"))
        yield from neighbours.check_namespaces(self._objects, namespaces["items"])
        yield from neighbours.check_issuers(self._objects, self._exists)
        yield self._check_admission()

    def _check_cluster(self) -> Check:
        try:
            limit = f"--request-timeout={ANSWER_SECONDS}s"
            status, output = run_command(*self._kubectl, "version", "--output=json", limit)
        except DeployError as error:
            return Check("cluster", False, f"{error}. Install kubectl, then choose its context.")
        remedy = f"{output} Choose a context: `kubectl config get-contexts`, or --context."
        return Check("cluster", status == 0, self.name if status == 0 else remedy)

    def _explain(self, error: DeployError) -> str:
        if (ROOT / self._folder).is_dir():
            return str(error)
        made = "`make cluster` writes it: docs/cluster.md"
        others = ", ".join(sorted(each.name for each in (ROOT / FOLDER).iterdir()))
        remedy = made if self._folder.endswith("/cluster") else f"there are {others}"
        return f"{self._folder} is missing: {remedy}"

    def find_current_release(self) -> str | None:
        """Return the revisions of the overlay's workloads in the cluster, or None."""
        ours = {*self._list_names("Deployment"), *self._list_names("DaemonSet", DAEMON)}
        revisions: dict[str, int] = {}
        for item in self._read_items("deployments"):
            metadata = item["metadata"]
            revisions[metadata["name"]] = int(metadata.get("annotations", {}).get(REVISION, 0))
        for item in self._read_items("controllerrevisions"):
            for owner in item["metadata"].get("ownerReferences", []):
                if owner["kind"] == "DaemonSet":
                    name = DAEMON + owner["name"]
                    revisions[name] = max(revisions.get(name, 0), item["revision"])
        release = (f"{name}={revisions[name]}" for name in sorted(ours & revisions.keys()))
        return " ".join(release) or None

    def predict_release(self) -> str | None:
        """Return None: only the cluster can compare its objects with the overlay."""
        return None

    def preview(self) -> str:
        """Return the output of `kubectl diff`; its exit status is 1 for a difference."""
        diff = (*self._kubectl, "diff", "--server-side", "-f", "-")
        status, output = run_command(*diff, text=self._manifest, fine=(0, 1))
        if status > 1:
            raise DeployError(output)
        return output or "no differences"

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return `kubectl apply`, or for a release `kubectl rollout undo`, and the waits.

        Stale objects are deleted before the waits: a placeholder may hold the next worker's GPU.
        """
        if release is not None:
            return [*self._undo(release), *self._wait_for(_parse_revisions(release))]
        source = f"kubectl kustomize {self._folder}"
        return [
            build_step(*self._kubectl, *APPLY, text=self._manifest, fed_by=source),
            *self._delete_stale(),
            *self._wait_for(self._list_names("Deployment")),
        ]

    def list_removal(self) -> list[str]:
        """Return the deletion of the namespace. Nodes, database and bucket are outside."""
        return [f"{' '.join(self._kubectl)} delete --ignore-not-found -k {self._folder}"]

    def _delete_stale(self) -> Iterator[Step]:
        def get(resources: str) -> str:
            return self._get(resources, f"--selector={SELECTOR}", "--output=json")

        stale = find_stale(self._objects, self._served, get)
        if stale:
            delete = (*self._kubectl, "--namespace", NAMESPACE, "delete", "--ignore-not-found")
            yield build_step(*delete, *stale)

    def _undo(self, release: str) -> list[Step]:
        current = _parse_revisions(self.find_current_release() or "")
        undo = (*self._kubectl, "--namespace", NAMESPACE, "rollout", "undo")
        wanted = _parse_revisions(release)
        if missing := sorted(set(wanted) - set(current)):
            raise DeployError(
                f"{', '.join(missing)}: not in the cluster, so its revisions are lost. "
                "Deploy the overlay of that release instead."
            )
        return [
            build_step(
                *undo, name if "/" in name else f"deployment/{name}", f"--to-revision={number}"
            )
            for name, number in wanted.items()
            if current[name] != number
        ]

    def _wait_for(self, names: Iterable[str]) -> list[Step]:
        """Return the waits for Deployments. A DaemonSet also waits for nodes that come and go."""
        wait = (*self._kubectl, "--namespace", NAMESPACE, "rollout", "status")
        return [
            build_step(
                *wait, f"deployment/{name}", f"--timeout={measure_rollout(self._objects, name)}s"
            )
            for name in names
            if name != PLACEHOLDER and not name.startswith(DAEMON)
        ]

    def _list_names(self, kind: str, prefix: str = "") -> list[str]:
        return [
            prefix + entry["metadata"]["name"] for entry in self._objects if entry["kind"] == kind
        ]

    def _read_items(self, resource: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self._get(resource, "--output=json"))["items"]
        return items

    @cached_property
    def _served(self) -> list[str]:
        return read_output(*self._kubectl, "api-versions").split()

    @cached_property
    def _manifest(self) -> str:
        return read_output("kubectl", "kustomize", self._folder)

    @cached_property
    def _objects(self) -> list[dict[str, Any]]:
        import yaml

        return [document for document in yaml.safe_load_all(self._manifest) if document]

    def _check_right(self, verb: str) -> Check:
        can = (*self._kubectl, "--namespace", NAMESPACE, "auth", "can-i", verb, "deployments.apps")
        status, output = run_command(*can)
        return Check(f"may {verb} deployments", status == 0, output)

    def _check_admission(self) -> Check:
        """Ask the cluster about every object: its schemas, its policies, its quotas."""
        name = "objects are admitted"
        if not self._exists("namespace", NAMESPACE):
            return Check(name, True, f"not checked: there is no namespace {NAMESPACE} yet")
        dry_run = (*self._kubectl, *APPLY, "--dry-run=server")
        status, output = run_command(*dry_run, text=self._manifest)
        return Check(name, status == 0, "" if status == 0 else "; ".join(output.splitlines()[:3]))

    def _exists(self, resource: str, name: str) -> bool:
        status, _ = run_command(*self._kubectl, "get", resource, name)
        return status == 0

    def _read_secret(self, name: str) -> dict[str, str] | None:
        status, output = run_command(
            *self._kubectl, "--namespace", NAMESPACE, "get", "secret", name, "--output=json"
        )
        return json.loads(output).get("data", {}) if status == 0 else None

    def _get(self, *arguments: str) -> str:
        return read_output(*self._kubectl, "--namespace", NAMESPACE, "get", *arguments)

    def _current_context(self) -> str:
        if find_tool("kubectl") is None:
            return "no kubectl"
        status, output = run_command("kubectl", "config", "current-context")
        return output if status == 0 else "no context"


def _parse_revisions(release: str) -> dict[str, str]:
    """Return the revisions by Deployment. Raises: `DeployError`."""
    revisions = dict(part.partition("=")[::2] for part in release.split())
    if not all(number.isdigit() for number in revisions.values()):
        raise DeployError(f"{release!r} is not a release. The form is NAME=REVISION NAME=REVISION.")
    return revisions
