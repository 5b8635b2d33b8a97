"""Lint of the Dockerfiles, shell scripts, workflows and rules of Prometheus.

Every function returns the linter's lines, or none.
"""

from __future__ import annotations

from infra.check.tools import ROOT, find_tool, lint

DOCKERFILES = (
    *("infra/docker/*.Dockerfile", ".runpod/Dockerfile"),
    "infra/images/stand-ins/*.Dockerfile",
)
SCRIPTS = (".ci/run", "infra/**/*.sh")
# DL3008: the base image's digest fixes Debian's packages. DL3042: PIP_NO_CACHE_DIR is set.
SKIPPED_RULES = ("DL3008", "DL3042")


def _files(*patterns: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern))


def check_dockerfiles() -> list[str]:
    """Lint the Dockerfiles with hadolint."""
    ignored = [f"--ignore={code}" for code in SKIPPED_RULES]
    return lint("hadolint", *ignored, *_files(*DOCKERFILES))


def check_scripts() -> list[str]:
    """Lint the shell scripts with shellcheck."""
    return lint("shellcheck", *_files(*SCRIPTS))


def check_workflows() -> list[str]:
    """Lint the workflows with actionlint and zizmor."""
    files = _files(".github/workflows/*.yml")
    return [
        # Without a path, actionlint searches the PATH alone.
        *lint("actionlint", f"-shellcheck={find_tool('shellcheck') or ''}", *files),
        *lint("zizmor", "--offline", "--no-progress", *files),
    ]


def check_rules() -> list[str]:
    """Check the configuration of Prometheus, and test its rules, with promtool."""
    folder = "infra/monitoring"
    return [
        *lint("promtool", "check", "config", f"{folder}/prometheus.yml"),
        *lint("promtool", "check", "rules", f"{folder}/rules.yml"),
        *lint("promtool", "test", "rules", *_files(f"{folder}/tests/*.yml")),
    ]
