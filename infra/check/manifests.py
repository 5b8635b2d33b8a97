"""What a manifest may say and a cluster would do wrong all the same, in one list of checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.check import security, wiring
from infra.check.objects import Check, Objects, named, of_kind, pod_of

LONGEST_JOB_SECONDS = 600
"""300 s of music at twice real time, the slowest worker that is worth its place."""
SLOWEST_START_SECONDS = 300
"""Of the largest model from a volume that was never read; what was measured: docs/coldstart.md."""


def patience(objects: Objects) -> Iterator[str]:
    """A worker that is told to stop may finish its job, and one that starts may load its model."""
    settings = _settings(objects)
    drain = int(settings.get("MUSICGEN_DRAIN_SECONDS", 600))
    for each in of_kind(objects, "Deployment"):
        if each["metadata"]["name"] not in ("musicgen-worker", "musicgen-relay"):
            continue
        spec = pod_of(each)["spec"]
        grace = spec.get("terminationGracePeriodSeconds", 30)
        if drain < LONGEST_JOB_SECONDS:
            yield f"{named(each)}: drains for {drain} s, a job may take {LONGEST_JOB_SECONDS}"
        if grace <= drain:
            yield f"{named(each)}: is killed after {grace} s while it may drain for {drain}"
        if each["metadata"]["name"] == "musicgen-relay":
            continue  # loads no model
        probe = spec["containers"][0].get("startupProbe", {})
        budget = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        if budget < SLOWEST_START_SECONDS:
            yield f"{named(each)}: is killed after {budget} s of its start"
        if each["spec"].get("progressDeadlineSeconds", 600) < budget:
            yield f"{named(each)}: a rollout is given up before a slow start ends"


def slots(objects: Objects) -> Iterator[str]:
    """KEDA counts with as many jobs for each worker as a worker makes at once."""
    own = _settings(objects).get("MUSICGEN_SLOTS", "1")
    for each in of_kind(objects, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            target = trigger["metadata"].get("targetQueryValue", own)
            if target != own:
                yield f"{named(each)}: {target} jobs for each worker, which makes {own} at once"


def _settings(objects: Objects) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in of_kind(objects, "ConfigMap"):
        found |= each.get("data", {})
    return found


CHECKS: tuple[Check, ...] = (
    wiring.autoscalers,
    wiring.selectors,
    wiring.ports,
    wiring.references,
    patience,
    slots,
    security.hardening,
    security.secrets,
    security.network,
    security.images,
)


def problems(objects: Objects) -> list[str]:
    """Everything that any check says."""
    return [problem for check in CHECKS for problem in check(objects)]
