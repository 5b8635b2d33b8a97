"""The operator's settings, read from environment variables. Imports no torch.

Importing this package imports every declaration: `Settings.from_env` knows all names by then.
"""

from musicgen.settings.bucket import BucketSettings, Delivery
from musicgen.settings.credentials import CredentialSettings
from musicgen.settings.job_api import ApiSettings, ClientSettings, TracingSettings
from musicgen.settings.model_server import ModelServerSettings
from musicgen.settings.remote import RemoteTokens
from musicgen.settings.settings import DEFAULT_MODEL, ENGINES, PRECISIONS, Settings

__all__ = [
    "DEFAULT_MODEL",
    "ENGINES",
    "PRECISIONS",
    "ApiSettings",
    "BucketSettings",
    "ClientSettings",
    "CredentialSettings",
    "Delivery",
    "ModelServerSettings",
    "RemoteTokens",
    "Settings",
    "TracingSettings",
]
