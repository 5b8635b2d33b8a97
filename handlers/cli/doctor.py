"""`musicgen doctor`: check settings, services, folders, model and machine, each in one line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace

from handlers.cli.options import (
    SETTINGS_OPTIONS,
    Commands,
    add_model_options,
    add_server_options,
    name_setting,
)
from handlers.cli.statuses import EXIT_FAILED
from handlers.doctor.checks import check_installation
from handlers.doctor.finding import Finding
from handlers.doctor.plan import PARTS, ServerPlan
from handlers.doctor.settings_checks import read_all
from musicgen.errors.counts import format_count
from musicgen.settings import Settings
from musicgen.settings.job_api import extend_environment


def add(commands: Commands) -> None:
    """Add the command `doctor`."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation: settings, services, folders, model, machine",
        description="Check what `serve` with the same settings and options needs. Each line has "
        "a state (ok, warning or error), the fact, and what to do. The exit status is 0 without "
        "errors, else 1.",
    )
    parser.add_argument(
        "part", choices=PARTS, nargs="?", default="all", help="part of `serve` (default: all)"
    )
    add_server_options(parser)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_doctor, reads_settings=False)


def _doctor(options: argparse.Namespace, _: Settings) -> int:
    env = extend_environment({})
    read = read_all(env)
    given = {
        name: value
        for name in SETTINGS_OPTIONS.values()
        if (value := getattr(options, name)) is not None
    }
    plan = ServerPlan(
        options.part,
        replace(read.settings, **given),
        read.api,
        options.host,
        options.port,
        options.workers,
    )
    findings = [
        replace(finding, text=name_setting(finding.text, options))
        for finding in check_installation(plan, read.faults, env)
    ]
    counts = {state: sum(f.state == state for f in findings) for state in ("error", "warning")}
    _print(findings, counts, as_json=options.json)
    return EXIT_FAILED if counts["error"] else 0


def _print(findings: list[Finding], counts: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
        return
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        text = " ".join(finding.text.split())
        sys.stdout.write(f"{finding.state:7}  {finding.check:{width}}  {text}\n")
    told = (format_count(number, state) for state, number in counts.items())
    sys.stdout.write(f"\n{', '.join(told)}\n")
