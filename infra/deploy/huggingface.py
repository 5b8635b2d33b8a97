"""Deployment to an Inference Endpoint of Hugging Face, from an uploaded repository.

The endpoint is pinned to one commit of the repository; a rollback pins an earlier commit.
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
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.costs import Fleet, show_costs
from infra.deploy.speed import Load
from infra.deploy.target import Check, DeployError, Step
from infra.huggingface.layout import PACKAGES, LayoutError, lay_out
from musicgen.errors import MusicGenError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, InferenceEndpoint


@dataclass(frozen=True)
class HuggingFaceOptions:
    """Options of an endpoint.

    `repository`: OWNER/NAME, created as a private one if missing. `env`: variables of a new
    endpoint; secret ones become its secrets.
    """

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
    """Inference Endpoint. A release is a commit of its repository."""

    def __init__(self, options: HuggingFaceOptions, token: str | None) -> None:
        from huggingface_hub import HfApi

        self._options = options
        self._has_token = bool(token)
        # Without one, the library would take the token of another account from a file.
        self._api: HfApi = HfApi(token=token or False)
        self._commit: str | None = None
        self.name = f"huggingface/{options.endpoint}"

    def preflight(self, builds: bool) -> Iterator[Check]:
        """Check the token's account, then show the licence and check the bucket."""
        yield self._check_token()
        if not builds:
            return
        limits = self._options.replicas_min, self._options.replicas_max
        yield checks.check_limits("replicas", *limits)
        yield checks.show_licence(self._options.model, asks_hub=self._has_token)
        # The toolkit of the endpoint makes one call at a time, and the proxy's time is unknown.
        load = Load(self._options.model, [self._options.instance_type], 1)
        yield from check_call_limits(CallLimit("Hugging Face", None, ""), self._options.env, load)
        yield show_costs(Fleet("hf", [self._gpu], *limits))
        yield from checks.check_bucket(self._options.env)

    @property
    def _gpu(self) -> str:
        """The GPU with its number, as nvidia-l4:4 for the size x4."""
        return f"{self._options.instance_type}:{self._options.instance_size.removeprefix('x')}"

    def _check_token(self) -> Check:
        if not self._has_token:
            detail = "set it to a token with write access to repositories and endpoints"
            return Check("HF_TOKEN", False, detail)
        try:
            with _explain_errors():
                account = self._api.whoami()
        except DeployError as error:
            return Check("HF_TOKEN", False, str(error))
        names = [account["name"], *(member["name"] for member in account.get("orgs", []))]
        has_access = self._namespace in names
        detail = f"account {account['name']}"
        if not has_access:
            detail += f" may not write to {self._namespace}"
        return Check("HF_TOKEN", has_access, detail)

    def find_current_release(self) -> str | None:
        """Return the commit served by the endpoint, or None."""
        endpoint = self._find_endpoint()
        return None if endpoint is None else endpoint.revision

    def predict_release(self) -> str | None:
        """Return None: only an upload makes the commit. The same files give the same commit."""
        return None

    def preview(self) -> str:
        """Return "": the hub shows no differences."""
        return ""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the upload of the repository and the update of the endpoint."""
        options = self._options
        if release is not None:
            return [Step(self._describe_call(release), lambda: self._serve(release))]
        weights = "" if options.with_weights else " --without-weights"
        layout = f"python -m infra.huggingface.layout --model {options.model}{weights}"
        upload = f"hf upload {options.repository} FOLDER . --private"
        return [
            Step(f"{layout} --output FOLDER && {upload}", self._upload),
            Step(self._describe_call("COMMIT"), lambda: self._serve(self._require_commit())),
        ]

    def list_removal(self) -> list[str]:
        """Return the deletion of the endpoint. The repository is free."""
        name = self._options.endpoint
        return [f"hf endpoints delete {name} --namespace {self._namespace}"]

    @property
    def _namespace(self) -> str:
        return self._options.repository.partition("/")[0]

    def _describe_call(self, revision: str) -> str:
        verb = "create" if self._find_endpoint() is None else "update"
        return (
            f"{verb}_inference_endpoint({self._options.endpoint!r}, "
            f"repository={self._options.repository!r}, revision={revision!r})"
        )

    def _upload(self) -> None:
        options = self._options
        with TemporaryDirectory(prefix="musicgen-deploy-") as place:
            folder = Path(place) / "repository"
            try:
                lay_out(options.model, folder, with_weights=options.with_weights)
            except (LayoutError, MusicGenError) as error:
                raise DeployError(str(error)) from error
            with _explain_errors():
                self._api.create_repo(options.repository, private=True, exist_ok=True)
                done = self._api.upload_folder(
                    repo_id=options.repository,
                    folder_path=folder,
                    commit_message=f"Serve {options.model}",
                    # Modules of an earlier release must not stay importable.
                    delete_patterns=[f"{package}/**" for package in PACKAGES],
                )
        self._commit = done.oid

    def _require_commit(self) -> str:
        if self._commit is None:
            raise DeployError("There is no commit to serve: the upload has not run")
        return self._commit

    def _serve(self, revision: str) -> None:
        endpoint = self._find_endpoint()
        with _explain_errors():
            if endpoint is None:
                self._api.create_inference_endpoint(revision=revision, **self._new())
            elif endpoint.revision != revision:
                self._api.update_inference_endpoint(
                    self._options.endpoint,
                    namespace=self._namespace,
                    repository=self._options.repository,
                    revision=revision,
                )

    def _new(self) -> dict[str, Any]:
        options = self._options
        return {
            "name": options.endpoint,
            "repository": options.repository,
            "namespace": self._namespace,
            "framework": "pytorch",
            "task": "custom",
            "accelerator": "gpu",
            "vendor": options.vendor,
            "region": options.region,
            "instance_type": options.instance_type,
            "instance_size": options.instance_size,
            "min_replica": options.replicas_min,
            "max_replica": options.replicas_max,
            "scale_to_zero_timeout": options.idle_minutes,
            "env": {name: value for name, value in options.env.items() if not is_secret(name)},
            "secrets": {name: value for name, value in options.env.items() if is_secret(name)},
        }

    def _find_endpoint(self) -> InferenceEndpoint | None:
        from huggingface_hub.errors import HfHubHTTPError

        with _explain_errors():
            try:
                return self._api.get_inference_endpoint(
                    self._options.endpoint, namespace=self._namespace
                )
            except HfHubHTTPError as error:
                if error.response is not None and error.response.status_code == 404:
                    return None
                raise


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Turn every error of the hub or the network into a `DeployError`.

    The hub's library has many error classes, and the HTTP library below it has its own.
    """
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise DeployError(f"Hugging Face: {type(error).__name__}: {text}") from error
