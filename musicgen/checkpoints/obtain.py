"""The model of the settings, downloaded or unpacked first where necessary."""

from __future__ import annotations

from musicgen.checkpoints.address import is_to_be_fetched
from musicgen.checkpoints.locate import Source, locate
from musicgen.settings import Settings


def obtain(settings: Settings) -> Source:
    """Find the model of `settings`: a name, folder, packed file, archive or URL.

    Raises: the errors of `locate` and `fetch`.
    """
    name = settings.model
    if is_to_be_fetched(name):
        # Imported late: it brings the HTTP client and the compression modules.
        from musicgen.checkpoints.download import fetch

        name = str(fetch(name, settings))
    return locate(name, settings.revision, settings.base_model, settings.base_revision)
