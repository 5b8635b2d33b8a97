"""The options of each target, and the target that they describe."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from infra.deploy.target import Target
from musicgen.settings import RemoteTokens

if TYPE_CHECKING:
    Targets = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Targets = Any


def add_targets(parser: argparse.ArgumentParser) -> None:
    targets = parser.add_subparsers(metavar="TARGET", required=True)
    for add in (_kubernetes, _compose, _replicate, _runpod, _huggingface):
        add(targets)
    for each in targets.choices.values():
        each.add_argument("--dry-run", action="store_true", help="check and show, change nothing")
        each.add_argument(
            "--rollback", action="store_true", help="bring back what stood there before"
        )
        each.add_argument("--to", metavar="RELEASE", help="this one, as an earlier run named it")


def _kubernetes(targets: Targets) -> None:
    parser = targets.add_parser("kubernetes", help="an overlay of infra/k8s: docs/kubernetes.md")
    parser.add_argument("--overlay", default="production", help="(default: %(default)s)")
    parser.add_argument("--context", help="of kubectl (default: its current one)")
    parser.add_argument(
        "--gpus-come", action="store_true", help="nodes with GPUs are made when they are needed"
    )
    parser.set_defaults(target=_to_kubernetes)


def _to_kubernetes(options: argparse.Namespace) -> Target:
    from infra.deploy.kubernetes import Kubernetes

    return Kubernetes(options.overlay, options.context, options.gpus_come)


def _compose(targets: Targets) -> None:
    parser = targets.add_parser("compose", help="this machine, with Docker: docs/compose.md")
    parser.add_argument("--monitoring", action="store_true", help="Prometheus too")
    parser.set_defaults(target=_to_compose)


def _to_compose(options: argparse.Namespace) -> Target:
    from infra.deploy.compose import Compose

    return Compose(options.monitoring)


def _replicate(targets: Targets) -> None:
    parser = targets.add_parser("replicate", help="a model, and a deployment of it")
    parser.add_argument("model", metavar="OWNER/MODEL", help="a page that exists there")
    parser.add_argument("--deployment", metavar="OWNER/NAME", help="made where it is not there")
    parser.add_argument("--model", dest="weights", help="a name from `musicgen models`, or a file")
    parser.add_argument("--streaming", action="store_true", help="the runner that streams")
    parser.add_argument("--hardware", default="gpu-l40s", help="(default: %(default)s)")
    _between(parser, "instances")
    parser.set_defaults(target=_to_replicate)


def _to_replicate(options: argparse.Namespace) -> Target:
    from infra.deploy.replicate import Replicate, Served

    wish = Served(
        options.model,
        options.deployment,
        options.weights,
        options.hardware,
        options.min,
        options.max,
        options.streaming,
    )
    return Replicate(wish, RemoteTokens.from_env().replicate)


def _runpod(targets: Targets) -> None:
    parser = targets.add_parser("runpod", help="a serverless endpoint")
    parser.add_argument("name", help="of the endpoint, made where it is not there")
    parser.add_argument("--image", help="of .runpod/Dockerfile, by its digest")
    # Without a default here: what was set for an endpoint stays unless it is asked for anew.
    parser.add_argument("--gpu", nargs="+", metavar="POOL", help="of a new one: ADA_24 AMPERE_24")
    parser.add_argument("--min", type=int, help="workers; of a new one: 0")
    parser.add_argument("--max", type=int, help="workers; of a new one: 3")
    parser.add_argument("--idle", type=int, metavar="SECONDS", help="until a worker goes; 60")
    parser.add_argument("--registry", metavar="ID", help="credentials there for a private image")
    _env(parser, "a secret is {{ RUNPOD_SECRET_NAME }}, kept there")
    parser.set_defaults(target=_to_runpod)


def _to_runpod(options: argparse.Namespace) -> Target:
    from infra.deploy.runpod import Endpoint, RunPod

    wish = Endpoint(
        options.name,
        options.image,
        tuple(options.gpu) if options.gpu else None,
        options.min,
        options.max,
        options.idle,
        dict(options.env),
        options.registry,
    )
    return RunPod(wish, RemoteTokens.from_env().runpod)


def _huggingface(targets: Targets) -> None:
    parser = targets.add_parser("huggingface", help="an inference endpoint and its repository")
    parser.add_argument("repository", metavar="OWNER/NAME", help="made, private, if it is missing")
    parser.add_argument("--endpoint", required=True, metavar="NAME")
    parser.add_argument("--model", default="small", help="(default: %(default)s)")
    parser.add_argument(
        "--without-weights", action="store_true", help="it downloads them at each start"
    )
    parser.add_argument("--vendor", default="aws", help="(default: %(default)s)")
    parser.add_argument("--region", default="us-east-1", help="(default: %(default)s)")
    parser.add_argument("--instance-type", default="nvidia-l4", help="(default: %(default)s)")
    parser.add_argument("--instance-size", default="x1", help="(default: %(default)s)")
    _between(parser, "replicas")
    parser.add_argument("--idle", type=int, default=15, metavar="MINUTES", help="until it sleeps")
    _env(parser, "when the endpoint is made; secrets become its secrets")
    parser.set_defaults(target=_to_huggingface)


def _to_huggingface(options: argparse.Namespace) -> Target:
    from infra.deploy.huggingface import Hosted, HuggingFace

    wish = Hosted(
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
    return HuggingFace(wish, RemoteTokens.from_env().huggingface)


def _between(parser: argparse.ArgumentParser, what: str) -> None:
    """Of what is made; a deployment that is there keeps its own."""
    for name, default in (("--min", 0), ("--max", 1)):
        told = f"{what} when it is made (default: %(default)s)"
        parser.add_argument(name, type=int, default=default, help=told)


def _env(parser: argparse.ArgumentParser, note: str) -> None:
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME=VALUE",
        help=f"a setting of README.md; NAME alone takes its value from here; {note}",
    )


def _variable(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not is_given and name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name} is not set here: give {name}=VALUE")
    return name, value if is_given else os.environ[name]
