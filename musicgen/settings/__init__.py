"""The operator's settings, read from environment variables. Imports no torch."""

from musicgen.settings.bucket import BucketSettings, Delivery
from musicgen.settings.remote import RemoteTokens
from musicgen.settings.settings import DEFAULT_MODEL, ENGINES, PRECISIONS, Settings

__all__ = [
    "DEFAULT_MODEL",
    "ENGINES",
    "PRECISIONS",
    "BucketSettings",
    "Delivery",
    "RemoteTokens",
    "Settings",
]
