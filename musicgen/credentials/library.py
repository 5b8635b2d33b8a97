"""The library c2pa, imported where it is used, with settings that keep it off the network."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from musicgen.errors import MissingDependency

EXTRA = "credentials"
_PURPOSE = "Content credentials (C2PA)"
TRIAL_ORGANIZATION = "MusicGen trial, not to be trusted"
"""Organization in the certificates of `musicgen credentials new`."""
SIGNABLE = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
"""Formats that can be signed, with their types. C2PA defines no place in Ogg."""
# By itself the library would load a manifest, or ask for a certificate's state, at an address in
# the file of a stranger.
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


def require_library() -> None:
    """Raise `MissingDependency` where the extra is not installed."""
    for module, package in (("c2pa", "c2pa-python"), ("cryptography", "cryptography")):
        if find_spec(module) is None:
            raise MissingDependency(package, _PURPOSE, EXTRA)


def open_context(anchors: str | None = None) -> Any:
    """Return a context of c2pa that never uses the network.

    `anchors`: trusted certificates in PEM; None trusts nobody.
    """
    import c2pa

    trust = {} if anchors is None else {"trust": {"trust_anchors": anchors}}
    verify = {**_OFFLINE, "verify_after_sign": False, "verify_trust": True}
    return c2pa.Context.from_dict({"verify": verify, **trust})
