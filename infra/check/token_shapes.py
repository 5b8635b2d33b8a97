"""Plugin of detect-secrets for the tokens of the deployment platforms."""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector


class PlatformTokenDetector(RegexBasedDetector):
    """Detector of tokens of Hugging Face, Replicate and RunPod, and of the job API's secrets."""

    secret_type = "token of a platform"  # pragma: allowlist secret
    denylist = (
        re.compile(r"\bhf_[A-Za-z0-9]{34}\b"),
        re.compile(r"\br8_[A-Za-z0-9]{37}\b"),
        re.compile(r"\brpa_[A-Z0-9]{40,}\w*\b"),
        re.compile(r"\bmg_[0-9a-f]{8}_[\w-]{43}\b"),
        re.compile(r"\bwhsec_[A-Za-z0-9+/]{43}="),
    )
