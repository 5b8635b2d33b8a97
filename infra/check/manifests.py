"""Checks of valid manifests for contents with a wrong effect in a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from infra.check import network, scheduling, security, wiring
from infra.check.objects import (
    PART_OF,
    Check,
    Objects,
    describe,
    find_settings,
    get_pod,
    list_containers,
    select_kinds,
)

LONGEST_JOB_SECONDS = 600
"""300 s of music at twice real time, the speed of the slowest useful worker."""
SLOWEST_START_SECONDS = 300
"""Start of the largest model from a cold volume. Measurements: docs/coldstart.md."""


def check_grace_periods(objects: Objects) -> Iterator[str]:
    """Check the time to finish a job before a stop, and to load a model at a start."""
    settings = find_settings(objects)
    drain = int(settings.get("MUSICGEN_DRAIN_SECONDS", 600))
    for item in select_kinds(objects, "Deployment"):
        if item["metadata"]["name"] not in ("musicgen-worker", "musicgen-relay"):
            continue
        spec = get_pod(item)["spec"]
        grace = spec.get("terminationGracePeriodSeconds", 30)
        if drain < LONGEST_JOB_SECONDS:
            yield f"{describe(item)}: drains for {drain} s, but a job takes {LONGEST_JOB_SECONDS} s"
        if grace <= drain:
            yield f"{describe(item)}: is killed after {grace} s, but drains for {drain} s"
        if item["metadata"]["name"] == "musicgen-relay":
            continue  # a relay loads no model
        probe = spec["containers"][0].get("startupProbe", {})
        budget = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        if budget < SLOWEST_START_SECONDS:
            yield f"{describe(item)}: is killed after {budget} s of its start"
        if item["spec"].get("progressDeadlineSeconds", 600) < budget:
            yield f"{describe(item)}: a rollout fails before the end of a slow start"


def check_slots(objects: Objects) -> Iterator[str]:
    """Check KEDA's jobs per worker against the slots of a worker."""
    own = find_settings(objects).get("MUSICGEN_SLOTS", "1")
    for item in select_kinds(objects, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            target = trigger["metadata"].get("targetQueryValue", own)
            if target != own:
                yield f"{describe(item)}: jobs per worker {target}, but slots of a worker {own}"


def check_bucket(objects: Objects) -> Iterator[str]:
    """Check that all processes have the same variables of a bucket.

    A component changes only the objects of the components before it in the overlay's list.
    """
    buckets = {
        item["metadata"]["name"]: {
            variable["name"]
            for container in list_containers(item)
            for variable in container.get("env", [])
            if variable["name"].startswith("MUSICGEN_BUCKET")
        }
        for item in select_kinds(objects, "Deployment")
        if item["metadata"]["name"] in network.list_clients(objects)
    }
    everything = set().union(*buckets.values())
    for name, own in buckets.items():
        if missing := everything - own:
            yield (
                f"Deployment {name}: lacks {', '.join(sorted(missing))}. List the component "
                "bucket after the one with this Deployment."
            )


def check_fallback(objects: Objects) -> Iterator[str]:
    """Check that a database without an answer does not stop running workers."""
    for item in select_kinds(objects, "ScaledObject"):
        fallback = item["spec"].get("fallback", {})
        keeps = fallback.get("behavior") in ("currentReplicas", "currentReplicasIfHigher")
        if fallback and not keeps and fallback["replicas"] < item["spec"]["maxReplicaCount"]:
            yield f"{describe(item)}: its fallback stops workers while the database is away"


def check_labels(objects: Objects) -> Iterator[str]:
    """Check the label by which a deployment finds objects to delete."""
    for item in objects:
        if item["metadata"].get("labels", {}).get(PART_OF) != "musicgen":
            yield f"{describe(item)}: lacks the label {PART_OF}: musicgen"


CHECKS: tuple[Check, ...] = (
    wiring.check_autoscalers,
    wiring.check_selectors,
    wiring.check_ports,
    wiring.check_references,
    check_grace_periods,
    check_slots,
    check_bucket,
    check_fallback,
    check_labels,
    scheduling.check_companions,
    scheduling.check_disruptions,
    scheduling.check_disk,
    scheduling.check_rollouts,
    security.check_hardening,
    security.check_secrets,
    network.check_denial,
    network.check_ways_out,
    security.check_images,
)


def problems(objects: Objects) -> list[str]:
    """Return the problems of all checks."""
    return [problem for check in CHECKS for problem in check(objects)]
