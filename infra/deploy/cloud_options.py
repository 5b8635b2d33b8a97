"""Command line options of the targets in clouds: Modal, SageMaker, Vertex AI, Cloud Run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from infra.deploy.option_types import add_call_seconds, add_env, require_form
from infra.deploy.target import CheckError, Target

if TYPE_CHECKING:
    from infra.deploy.google_cloud import GoogleOptions

    Targets = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Targets = Any

_ENDPOINT = require_form(
    r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", "a name of at most 63 letters, digits and hyphens"
)
_AWS_REGION = require_form(r"[a-z]{2}(-[a-z]+)+-\d", "a region such as us-east-1")
_SERVICE = require_form(
    r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?",
    "a name of at most 49 lower-case letters, digits and hyphens, beginning with a letter",
)
_GOOGLE_REGION = require_form(r"[a-z]+-[a-z]+\d+", "a region such as us-central1")
_ACCOUNT = require_form(
    r"[^@\s]+@[^@\s]+\.[^@\s]+", "an address such as NAME@PROJECT.iam.gserviceaccount.com"
)


def _modal(targets: Targets) -> None:
    parser = targets.add_parser("modal", help="an app on Modal: infra/modal/app.py")
    parser.add_argument("name", nargs="?", default="musicgen", help="(default: %(default)s)")
    parser.add_argument("--model", default="small", help="(default: %(default)s)")
    parser.add_argument("--gpu", nargs="+", default=["L4"], help="by preference (default: L4)")
    parser.add_argument("--no-gpu", action="store_true", help="serve on the processor")
    parser.add_argument("--region", nargs="+", default=[], help="(default: any)")
    parser.add_argument("--min", type=int, default=0, help="fewest containers (default: 0)")
    parser.add_argument("--max", type=int, default=3, help="most containers (default: 3)")
    parser.add_argument("--slots", type=int, default=8, help="clips at once in one (default: 8)")
    parser.add_argument(
        "--idle", type=int, default=60, metavar="SECONDS", help="stop after this (default: 60)"
    )
    parser.add_argument(
        "--snapshot",
        choices=("off", "cpu", "gpu"),
        default="cpu",
        help="part of a start kept in a memory snapshot; gpu is an alpha of Modal (default: cpu)",
    )
    add_call_seconds(parser, "modal")
    parser.add_argument("--secret", action="append", default=[], help="a secret of Modal")
    parser.add_argument(
        "--access",
        choices=("key", "public", "off"),
        default="key",
        help="who may call the web address: holders of a proxy token, all, nobody (default: key)",
    )
    parser.set_defaults(target=_to_modal)


def _to_modal(options: argparse.Namespace) -> Target:
    from infra.deploy.modal import Modal
    from infra.modal.options import ModalOptions, OptionError

    try:
        target = ModalOptions(
            options.name,
            options.model,
            () if options.no_gpu else tuple(options.gpu),
            tuple(options.region),
            options.min,
            options.max,
            options.idle,
            options.slots,
            options.snapshot,
            tuple(options.secret),
            options.access,
            options.call_seconds,
        )
    except OptionError as error:
        raise CheckError(str(error)) from error
    return Modal(target)


def _sagemaker(targets: Targets) -> None:
    parser = targets.add_parser("sagemaker", help="an endpoint of Amazon SageMaker")
    parser.add_argument("name", type=_ENDPOINT, help="name of the endpoint, created if missing")
    parser.add_argument("--image", help="image in ECR, by its digest")
    parser.add_argument("--role", metavar="ARN", help="role of the endpoint")
    parser.add_argument(
        "--region", type=_AWS_REGION, help="(default: AWS_REGION, or the profile's)"
    )
    parser.add_argument("--instance-type", default="ml.g6.xlarge", help="(default: %(default)s)")
    parser.add_argument(
        "--async", dest="is_async", action="store_true", help="queue calls; may scale to zero"
    )
    parser.add_argument("--output", metavar="S3", help="s3:// address for answers of --async")
    parser.add_argument(
        "--slots", type=int, default=4, help="calls at once in an instance (default: 4)"
    )
    parser.add_argument("--min", type=int, help="fewest instances (default: 1, 0 with --async)")
    parser.add_argument("--max", type=int, default=2, help="most instances (default: 2)")
    add_env(parser, "variables of the container")
    parser.set_defaults(target=_to_sagemaker)


def _to_sagemaker(options: argparse.Namespace) -> Target:
    from infra.deploy.sagemaker import SageMaker
    from infra.deploy.sagemaker_plan import SageMakerOptions

    least = options.min if options.min is not None else int(not options.is_async)
    target = SageMakerOptions(
        options.name,
        options.image,
        options.role,
        options.region,
        options.instance_type,
        options.is_async,
        options.output,
        options.slots,
        least,
        options.max,
        dict(options.env),
    )
    return SageMaker(target)


def _add_google(
    targets: Targets, name: str, text: str, gpu: str, least: int
) -> argparse.ArgumentParser:
    parser = targets.add_parser(name, help=text)
    parser.add_argument("name", type=_SERVICE, help="lower case, created if missing")
    parser.add_argument("--image", help="image in the Artifact Registry, by its digest")
    parser.add_argument("--project", help="(default: GOOGLE_CLOUD_PROJECT, or gcloud's)")
    parser.add_argument(
        "--region", type=_GOOGLE_REGION, default="us-central1", help="(default: %(default)s)"
    )
    parser.add_argument("--gpu", default=gpu, help="(default: %(default)s)")
    parser.add_argument("--no-gpu", action="store_true", help="serve on the processor")
    parser.add_argument(
        "--slots", type=int, default=4, help="calls at once in an instance (default: 4)"
    )
    parser.add_argument("--min", type=int, default=least, help="(default: %(default)s)")
    parser.add_argument("--max", type=int, default=2, help="(default: %(default)s)")
    add_call_seconds(parser, name)
    parser.add_argument(
        "--account", type=_ACCOUNT, metavar="EMAIL", help="service account of the container"
    )
    add_env(parser, "variables of the container")
    return parser


def _cloudrun(targets: Targets) -> None:
    text = "a service of Cloud Run, from zero"
    parser = _add_google(targets, "cloudrun", text, "nvidia-rtx-pro-6000", least=0)
    parser.add_argument("--driver", type=int, help="driver there, where newer than documented")
    parser.set_defaults(target=_to_cloudrun)


def _to_cloudrun(options: argparse.Namespace) -> Target:
    from infra.deploy.cloudrun import CloudRun

    return CloudRun(_read_google(options))


def _vertex(targets: Targets) -> None:
    text = "an endpoint of Vertex AI"
    parser = _add_google(targets, "vertex", text, "NVIDIA_L4", least=1)
    parser.set_defaults(target=_to_vertex)


def _to_vertex(options: argparse.Namespace) -> Target:
    from infra.deploy.vertex import Vertex

    return Vertex(_read_google(options))


def _read_google(options: argparse.Namespace) -> GoogleOptions:
    from infra.deploy.google_cloud import GoogleOptions

    return GoogleOptions(
        options.name,
        options.image,
        options.project,
        options.region,
        None if options.no_gpu else options.gpu,
        options.slots,
        options.min,
        options.max,
        options.account,
        dict(options.env),
        getattr(options, "driver", None),
        options.call_seconds,
    )


CLOUDS = (_modal, _sagemaker, _vertex, _cloudrun)
