"""Command line options of each target, and the target built from them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from infra.deploy.cloud_options import CLOUDS
from infra.deploy.option_types import add_call_seconds, parse_owner_name
from infra.deploy.option_types import add_env as _add_env
from infra.deploy.option_types import add_limits as _add_limits
from infra.deploy.target import Target
from musicgen.settings import RemoteTokens

if TYPE_CHECKING:
    Targets = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Targets = Any


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for every target; it sets `target`, a function of the parsed options."""
    targets = parser.add_subparsers(metavar="TARGET", required=True)
    for add in (_kubernetes, _compose, _replicate, _runpod, _huggingface, *CLOUDS):
        add(targets)
    for target in targets.choices.values():
        target.add_argument(
            "--dry-run", action="store_true", help="check and show the steps, change nothing"
        )
        target.add_argument(
            "--rollback", action="store_true", help="go back to the previous release"
        )
        target.add_argument(
            "--to", metavar="RELEASE", help="deploy this release, named as in an earlier run"
        )


def _kubernetes(targets: Targets) -> None:
    parser = targets.add_parser("kubernetes", help="an overlay of infra/k8s: docs/kubernetes.md")
    parser.add_argument("--overlay", default="production", help="(default: %(default)s)")
    parser.add_argument("--context", help="kubectl context (default: the current one)")
    parser.add_argument(
        "--gpus-come", action="store_true", help="an autoscaler adds nodes with GPUs on demand"
    )
    parser.set_defaults(target=_to_kubernetes)


def _to_kubernetes(options: argparse.Namespace) -> Target:
    from infra.deploy.kubernetes import Kubernetes

    return Kubernetes(options.overlay, options.context, options.gpus_come)


def _compose(targets: Targets) -> None:
    parser = targets.add_parser("compose", help="this machine, with Docker: docs/compose.md")
    parser.add_argument("--monitoring", action="store_true", help="start Prometheus too")
    parser.add_argument("--cpu", action="store_true", help="run the worker without a GPU")
    parser.set_defaults(target=_to_compose)


def _to_compose(options: argparse.Namespace) -> Target:
    from infra.deploy.compose import Compose

    return Compose(options.monitoring, options.cpu)


def _replicate(targets: Targets) -> None:
    parser = targets.add_parser("replicate", help="a model on Replicate, and its deployment")
    parser.add_argument(
        "model",
        type=parse_owner_name,
        metavar="OWNER/MODEL",
        help="an existing page on Replicate",
    )
    parser.add_argument(
        "--deployment", type=parse_owner_name, metavar="OWNER/NAME", help="created if missing"
    )
    parser.add_argument("--model", dest="weights", help="a name from `musicgen models`, or a file")
    parser.add_argument("--streaming", action="store_true", help="use the streaming runner")
    parser.add_argument("--hardware", default="gpu-l40s", help="(default: %(default)s)")
    _add_limits(parser, "instances")
    parser.set_defaults(target=_to_replicate)


def _to_replicate(options: argparse.Namespace) -> Target:
    from infra.deploy.replicate import Replicate, ReplicateOptions

    target = ReplicateOptions(
        options.model,
        options.deployment,
        options.weights,
        options.hardware,
        options.min,
        options.max,
        options.streaming,
    )
    return Replicate(target, RemoteTokens.from_env().replicate)


def _runpod(targets: Targets) -> None:
    parser = targets.add_parser("runpod", help="a serverless endpoint on RunPod")
    parser.add_argument("name", help="name of the endpoint, created if missing")
    parser.add_argument("--image", help="image of .runpod/Dockerfile, by its digest")
    # No defaults here: an existing endpoint keeps its own values.
    parser.add_argument(
        "--gpu", nargs="+", metavar="POOL", help="GPU pools (new endpoint: ADA_24 AMPERE_24)"
    )
    parser.add_argument("--min", type=int, help="fewest workers (new endpoint: 0)")
    parser.add_argument("--max", type=int, help="most workers (new endpoint: 3)")
    parser.add_argument(
        "--idle", type=int, metavar="SECONDS", help="stop a worker after this (new endpoint: 60)"
    )
    parser.add_argument(
        "--registry", metavar="ID", help="RunPod's id of the credentials for a private image"
    )
    parser.add_argument(
        "--volume", nargs="+", metavar="ID", help="network volumes, at /runpod-volume in a worker"
    )
    parser.add_argument("--data-center", nargs="+", metavar="ID", help="(new endpoint: all)")
    add_call_seconds(parser, "runpod", keeps=True)
    _add_env(parser, "{{ RUNPOD_SECRET_NAME }} refers to a secret kept by RunPod")
    parser.set_defaults(target=_to_runpod)


def _to_runpod(options: argparse.Namespace) -> Target:
    from infra.deploy.runpod import RunPod, RunPodOptions

    target = RunPodOptions(
        options.name,
        options.image,
        tuple(options.gpu) if options.gpu else None,
        options.min,
        options.max,
        options.idle,
        dict(options.env),
        options.registry,
        tuple(options.volume) if options.volume else None,
        tuple(options.data_center) if options.data_center else None,
        options.call_seconds,
    )
    return RunPod(target, RemoteTokens.from_env().runpod)


def _huggingface(targets: Targets) -> None:
    parser = targets.add_parser("huggingface", help="an Inference Endpoint and its repository")
    parser.add_argument(
        "repository",
        type=parse_owner_name,
        metavar="OWNER/NAME",
        help="created as private if missing",
    )
    parser.add_argument("--endpoint", required=True, metavar="NAME")
    parser.add_argument("--model", default="small", help="(default: %(default)s)")
    parser.add_argument(
        "--without-weights",
        action="store_true",
        help="let the endpoint download the weights at each start",
    )
    parser.add_argument("--vendor", default="aws", help="(default: %(default)s)")
    parser.add_argument("--region", default="us-east-1", help="(default: %(default)s)")
    parser.add_argument("--instance-type", default="nvidia-l4", help="(default: %(default)s)")
    parser.add_argument("--instance-size", default="x1", help="(default: %(default)s)")
    _add_limits(parser, "replicas")
    parser.add_argument(
        "--idle",
        type=int,
        default=15,
        metavar="MINUTES",
        help="scale to zero after this (default: %(default)s)",
    )
    _add_env(parser, "new endpoints only; secrets become secrets of the endpoint")
    parser.set_defaults(target=_to_huggingface)


def _to_huggingface(options: argparse.Namespace) -> Target:
    from infra.deploy.huggingface import HuggingFace, HuggingFaceOptions

    target = HuggingFaceOptions(
        options.repository,
        options.endpoint,
        options.model,
        not options.without_weights,
        options.vendor,
        options.region,
        options.instance_type,
        options.instance_size,
        options.min,
        options.max,
        options.idle,
        dict(options.env),
    )
    return HuggingFace(target, RemoteTokens.from_env().huggingface)
