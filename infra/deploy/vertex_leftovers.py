"""Parts of an interrupted deployment to Vertex AI: a change still running, models never deployed.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints.operations
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from infra.deploy.google_cloud import GoogleApi, GoogleOptions
from infra.deploy.history import read_changes
from infra.deploy.target import Check, DeployError

SHOWN = 10
PAGES = 50
"""Pages of 100 read at most."""


def check_leftovers(
    api: GoogleApi, parent: str, options: GoogleOptions, place: str
) -> Iterator[Check]:
    """Check that no change of the endpoint runs, and show models that were never deployed.

    A killed run does not stop Google's work: another deployment beside it would need another GPU.
    """
    try:
        operations = _list(api, f"{parent}/endpoints/{options.name}/operations", "operations")
        running = [each["name"].rpartition("/")[2] for each in operations if not each.get("done")]
        if running:
            detail = f"{', '.join(running)} of an earlier run goes on: wait for its end"
            yield Check("changes of the endpoint", False, detail)
        if left := _find_undeployed(api, parent, options.name, place):
            command = f"gcloud ai models delete ID --region={options.region}"
            shown = ", ".join(left[:SHOWN]) + (", ..." if len(left) > SHOWN else "")
            detail = f"{len(left)} in the registry ({shown}). To delete one: {command}"
            yield Check("models never deployed from here", True, detail)
    except DeployError as error:
        yield Check("leftovers of earlier runs", True, f"not checked: {error}")


def _find_undeployed(api: GoogleApi, parent: str, name: str, place: str) -> list[str]:
    """Return the models of our name with neither a deployment nor a place in the history."""
    name_filter = quote(f'display_name="{name}"')
    models = _list(api, f"{parent}/models", "models", f"filter={name_filter}&")
    known = {release for change in read_changes(place) for release in (change.before, change.after)}
    found = (
        str(model["name"]).rpartition("/")[2].partition("@")[0]
        for model in models
        if not model.get("deployedModels")
    )
    return sorted(each for each in found if each.startswith(f"{name[:50]}-") and each not in known)


def _list(api: GoogleApi, path: str, field: str, query: str = "") -> list[dict[str, Any]]:
    """Return the entries of all pages; none where the collection's owner does not exist."""
    entries: list[dict[str, Any]] = []
    token = ""
    for _ in range(PAGES):
        page = api.rest.find(f"{path}?{query}pageSize=100{token}") or {}
        entries += page.get(field) or []
        if not page.get("nextPageToken"):
            break
        token = f"&pageToken={quote(page['nextPageToken'])}"
    return entries
