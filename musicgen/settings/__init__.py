"""TODO-FACE"""

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
    "BucketSettings",
    "DEFAULT_MODEL",
    "Delivery",
    "ENGINES",
    "PRECISIONS",
    "RemoteTokens",
    "Settings",
]
