"""Names of environment variables: misspelt settings, and variables injected by Kubernetes.

Kubernetes describes every Service of a namespace to its pods in variables (`enableServiceLinks`),
as Docker's links did. A Service called musicgen-api gives MUSICGEN_API_SERVICE_HOST and
MUSICGEN_API_PORT=tcp://10.0.0.7:8000, although nobody wrote them.
Source: kubernetes/pkg/kubelet/envvars/envvars.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from musicgen.errors import SettingsError

PREFIX = "MUSICGEN_"
OF_TESTS = "MUSICGEN_TEST_"
"""Prefix of variables for this project's own tests."""
_LINK_NAME = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_URL = re.compile(r"(tcp|udp|sctp)://[^/\s]+:\d+")


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes injected this variable to describe a Service.

    A name ending in _PORT may be a setting too (MUSICGEN_METRICS_PORT): its value decides, because
    a link is a URL such as tcp://10.0.0.7:9090 and a setting is a number.
    """
    if _LINK_NAME.fullmatch(f"_{name}"):
        return True
    return name.endswith("_PORT") and _LINK_URL.fullmatch(value) is not None


def list_unknown(env: Mapping[str, str], known: Iterable[str]) -> list[SettingsError]:
    """Return an error for each variable beginning with MUSICGEN_ but not in `known`.

    The errors name the nearest setting and never show a value: it may be a secret.
    """
    names = set(known)
    unknown = sorted(
        name
        for name, value in env.items()
        if name.startswith(PREFIX)
        and name not in names
        and not name.startswith(OF_TESTS)
        and not is_service_link(name, value)
    )
    return [_build_error(name, names) for name in unknown]


def _build_error(name: str, known: set[str]) -> SettingsError:
    # The common prefix would make every setting seem near.
    parts = {other.removeprefix(PREFIX): other for other in known}
    near = get_close_matches(name.removeprefix(PREFIX), parts, n=1)
    question = f"Did you mean {parts[near[0]]}? " if near else ""
    advice = f"{question}docs/settings.md lists all settings."
    return SettingsError(name, "is not a setting", advice=advice)
