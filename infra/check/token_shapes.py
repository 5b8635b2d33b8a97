"""A plugin of detect-secrets: tokens of the platforms that this project is deployed to."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class PlatformTokenDetector(RegexBasedDetector):
    """Hugging Face, Replicate, RunPod, and keys and webhook secrets of the job API itself."""

    secret_type = "token of a platform"  # pragma: allowlist secret
    denylist = (
        re.compile(r"\bhf_[A-Za-z0-9]{34}\b"),
        re.compile(r"\br8_[A-Za-z0-9]{37}\b"),
        re.compile(r"\brpa_[A-Z0-9]{40,}\w*\b"),
        re.compile(r"\bmg_[0-9a-f]{8}_[\w-]{43}\b"),
        re.compile(r"\bwhsec_[A-Za-z0-9+/]{43}="),
    )
