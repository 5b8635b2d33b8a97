"""An Inference Endpoint of Hugging Face, served from a repository that is laid out and uploaded.

A commit of the repository is what the endpoint is pinned to; going back is an earlier commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from infra.check.security import is_secret
from infra.deploy import checks
from infra.deploy.target import Check, DeployError, Step
from infra.huggingface.layout import PACKAGES, LayoutError, lay_out
from musicgen.errors import MusicGenError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, InferenceEndpoint


@dataclass(frozen=True)
class Hosted:
    """`repository`: OWNER/NAME, made as a private one where it is not there. `env`: variables to
    set when the endpoint is made; secret ones become secrets there."""

    repository: str
    endpoint: str
    model: str = "small"
    with_weights: bool = True
    vendor: str = "aws"
    region: str = "us-east-1"
    instance_type: str = "nvidia-l4"
    instance_size: str = "x1"
    replicas_min: int = 0
    replicas_max: int = 1
    idle_minutes: int = 15
    env: Mapping[str, str] = field(default_factory=dict)


class HuggingFace:
    """A release is a commit of the repository."""

    def __init__(self, wish: Hosted, token: str | None) -> None:
        from huggingface_hub import HfApi

        if not token:
            raise DeployError("set HF_TOKEN, a token that may write repositories and endpoints")
        self._wish = wish
        self._api: HfApi = HfApi(token=token)
        self._commit: str | None = None
        self.name = f"huggingface/{wish.endpoint}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        try:
            with _explained():
                account = self._api.whoami()
        except DeployError as error:
            yield Check("HF_TOKEN", False, str(error))
            return
        names = [account["name"], *(each["name"] for each in account.get("orgs", []))]
        is_ours = self._namespace in names
        told = f"of {account['name']}"
        if not is_ours:
            told += f", who may not write to {self._namespace}"
        yield Check("HF_TOKEN", is_ours, told)
        if not builds:
            return
        yield checks.licence(self._wish.model)
        yield from checks.bucket(self._wish.env)

    def standing(self) -> str | None:
        found = self._found()
        return None if found is None else found.revision

    def wanted(self) -> str | None:
        """A commit is known when it is made; one of the same files is the same commit."""
        return None

    def preview(self) -> str:
        return ""

    def steps(self, release: str | None) -> list[Step]:
        wish = self._wish
        if release is not None:
            return [Step(self._told(release), lambda: self._serve(release))]
        weights = "" if wish.with_weights else " --without-weights"
        layout = f"python -m infra.huggingface.layout --model {wish.model}{weights} --output FOLDER"
        upload = f"hf upload {wish.repository} FOLDER . --private"
        return [
            Step(f"{layout} && {upload}", self._upload),
            Step(self._told("COMMIT"), lambda: self._serve(self._uploaded())),
        ]

    @property
    def _namespace(self) -> str:
        return self._wish.repository.partition("/")[0]

    def _told(self, revision: str) -> str:
        verb = "create" if self._found() is None else "update"
        return (
            f"{verb}_inference_endpoint({self._wish.endpoint!r}, "
            f"repository={self._wish.repository!r}, revision={revision!r})"
        )

    def _upload(self) -> None:
        wish = self._wish
        with TemporaryDirectory(prefix="musicgen-deploy-") as place:
            folder = Path(place) / "repository"
            try:
                lay_out(wish.model, folder, with_weights=wish.with_weights)
            except (LayoutError, MusicGenError) as error:
                raise DeployError(str(error)) from error
            with _explained():
                self._api.create_repo(wish.repository, private=True, exist_ok=True)
                done = self._api.upload_folder(
                    repo_id=wish.repository,
                    folder_path=folder,
                    commit_message=f"Serve {wish.model}",
                    # What an earlier release had and this one has not must not be imported.
                    delete_patterns=[f"{package}/**" for package in PACKAGES],
                )
        self._commit = done.oid

    def _uploaded(self) -> str:
        if self._commit is None:
            raise DeployError("nothing was uploaded")
        return self._commit

    def _serve(self, revision: str) -> None:
        found = self._found()
        with _explained():
            if found is None:
                self._api.create_inference_endpoint(revision=revision, **self._new())
            elif found.revision != revision:
                self._api.update_inference_endpoint(
                    self._wish.endpoint,
                    namespace=self._namespace,
                    repository=self._wish.repository,
                    revision=revision,
                )

    def _new(self) -> dict[str, Any]:
        wish = self._wish
        return {
            "name": wish.endpoint,
            "repository": wish.repository,
            "namespace": self._namespace,
            "framework": "pytorch",
            "task": "custom",
            "accelerator": "gpu",
            "vendor": wish.vendor,
            "region": wish.region,
            "instance_type": wish.instance_type,
            "instance_size": wish.instance_size,
            "min_replica": wish.replicas_min,
            "max_replica": wish.replicas_max,
            "scale_to_zero_timeout": wish.idle_minutes,
            "env": {name: value for name, value in wish.env.items() if not is_secret(name)},
            "secrets": {name: value for name, value in wish.env.items() if is_secret(name)},
        }

    def _found(self) -> InferenceEndpoint | None:
        from huggingface_hub.errors import HfHubHTTPError

        with _explained():
            try:
                return self._api.get_inference_endpoint(
                    self._wish.endpoint, namespace=self._namespace
                )
            except HfHubHTTPError as error:
                if error.response is not None and error.response.status_code == 404:
                    return None
                raise


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever the hub says, or that it cannot be reached: its library has an error of its own for
    each, and those of the HTTP library below it."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise DeployError(f"Hugging Face: {type(error).__name__}: {text}") from error
