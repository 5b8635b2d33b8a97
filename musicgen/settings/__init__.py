"""The operator's settings, read from environment variables. Imports no torch."""

from musicgen.settings.settings import (
    DEFAULT_MODEL,
    ENGINES,
    PRECISIONS,
    BucketSettings,
    Delivery,
    RemoteTokens,
    Settings,
)

__all__ = [
    "DEFAULT_MODEL",
    "ENGINES",
    "PRECISIONS",
    "BucketSettings",
    "Delivery",
    "RemoteTokens",
    "Settings",
]
