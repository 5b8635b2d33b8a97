"""All checks of `musicgen doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from handlers.doctor.credential_checks import check_credentials
from handlers.doctor.extra_checks import (
    check_decoders,
    check_encoders,
    check_midi,
    check_names,
    check_packages,
)
from handlers.doctor.finding import Check, Finding, run_checks
from handlers.doctor.folder_checks import check_folders
from handlers.doctor.machine_checks import (
    check_device,
    check_memory,
    check_native_step,
    check_threads,
    resolve_device,
)
from handlers.doctor.model_checks import check_licence, check_model
from handlers.doctor.plan import ServerPlan
from handlers.doctor.service_checks import check_bucket, check_database, check_ports, check_remote
from handlers.doctor.settings_checks import check_settings
from musicgen.errors import SettingsError
from musicgen.process.gpu import list_gpus


def check_installation(
    plan: ServerPlan, faults: tuple[SettingsError, ...], env: Mapping[str, str]
) -> list[Finding]:
    """Run every check that concerns the plan, side by side.

    `faults`: wrong variables of `env`; the plan has their defaults instead.
    """
    settings = plan.settings

    def check_access() -> Iterator[Finding]:
        keys = "need a key" if plan.api.needs_keys(plan.host) else "need no key on loopback"
        yield Finding("access", "ok", f"callers of {plan.host} {keys}")

    def check_model_here() -> Iterator[Finding]:
        device = resolve_device(settings, list_gpus())
        yield from check_model(settings, device, asks_hub=True)

    checks: dict[str, Check] = {
        "settings": lambda: check_settings(faults, env),
        "packages": lambda: check_packages(plan),
        "names": check_names,
        "ports": lambda: check_ports(plan),
        "data folder": lambda: check_folders(plan),
        "database": lambda: check_database(plan),
        "bucket": lambda: check_bucket(plan),
        "decoders": check_decoders,
    }
    if plan.has_api:
        checks["access"] = check_access
        checks["midi"] = check_midi
    if plan.relays:
        checks["remote deployment"] = lambda: check_remote(plan)
    if plan.generates:
        checks |= {
            "device": lambda: check_device(plan),
            "model": check_model_here,
            "licence": lambda: check_licence(settings, asks_hub=True),
            "memory": lambda: check_memory(plan),
            "threads": lambda: check_threads(plan),
            "native step": lambda: check_native_step(plan),
            "encoders": check_encoders,
            "credentials": lambda: check_credentials(plan),
        }
    findings = run_checks(checks)
    if not any((each.check, each.state) == ("model", "error") for each in findings):
        return findings
    # A missing model has no licence to read: the error of the model is the cause.
    return [each for each in findings if (each.check, each.state) != ("licence", "warning")]
