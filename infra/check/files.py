"""Files that are read by others than this project's own code: image builds, shells, workflows,
Prometheus. Each function returns what the tool of its kind says is wrong."""

from __future__ import annotations

from infra.check.tools import ROOT, complaints, found

DOCKERFILES = ("infra/docker/*.Dockerfile", ".runpod/Dockerfile")
SCRIPTS = (".ci/run", "infra/**/*.sh")
# DL3008: Debian's packages are as the base image's digest says. DL3042: told by PIP_NO_CACHE_DIR.
UNHEEDED = ("DL3008", "DL3042")


def _files(*patterns: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern))


def dockerfiles() -> list[str]:
    ignored = [f"--ignore={code}" for code in UNHEEDED]
    return complaints("hadolint", *ignored, *_files(*DOCKERFILES))


def scripts() -> list[str]:
    return complaints("shellcheck", *_files(*SCRIPTS))


def workflows() -> list[str]:
    files = _files(".github/workflows/*.yml")
    return [
        # Given by name: otherwise actionlint looks for it on the PATH alone.
        *complaints("actionlint", f"-shellcheck={found('shellcheck') or ''}", *files),
        *complaints("zizmor", "--offline", "--no-progress", *files),
    ]


def rules() -> list[str]:
    folder = "infra/monitoring"
    return [
        *complaints("promtool", "check", "config", f"{folder}/prometheus.yml"),
        *complaints("promtool", "check", "rules", f"{folder}/rules.yml"),
        *complaints("promtool", "test", "rules", *_files(f"{folder}/tests/*.yml")),
    ]
