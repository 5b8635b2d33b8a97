"""Commits of a model in the hub's cache, for a model that was fetched by its commit.

The cache writes `refs/main` only for a download without a revision. Without that file
huggingface_hub finds no model offline, although all of it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from musicgen.errors import CheckpointNotFound

logger = logging.getLogger(__name__)


def find_with_commit(
    repository: str, revision: str | None, find: Callable[[str, str | None], Path]
) -> Path:
    """Return `find(repository, revision)`, or with the only commit of the cache if it fails.

    Raises: `CheckpointNotFound`.
    """
    try:
        return find(repository, revision)
    except CheckpointNotFound as error:
        commits = [] if revision else list_commits(repository)
        if len(commits) > 1:
            raise CheckpointNotFound(
                f"{error}. The cache holds several commits of {repository}: {', '.join(commits)}. "
                "Name one with MUSICGEN_REVISION, or MUSICGEN_BASE_REVISION for the base model of "
                "an adapter."
            ) from error
        if not commits:
            raise
        logger.warning("using %s at %s, its only commit in the cache", repository, commits[0])
        return find(repository, commits[0])


def list_commits(repository: str) -> list[str]:
    """Return the commits of a model in the hub's cache, if none of them is known as main."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE) / name
    if (folder / "refs" / constants.DEFAULT_REVISION).is_file():
        return []
    return sorted(path.name for path in folder.glob("snapshots/*") if path.is_dir())
