"""Remote deployment behind a circuit breaker and a monthly budget."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from musicgen.errors import RemoteError
from musicgen.errors.counts import format_count
from musicgen.remote.budget import Ledger, format_month
from musicgen.remote.circuit_breaker import CircuitBreaker
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.generate import OnFraction, RemoteGenerator, RemoteResult
from musicgen.remote.usage import Meter
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import RemoteSettings

LEDGER_PAUSE_SECONDS = 10.0
"""Pause before the next attempt after a failure of the ledger."""

logger = logging.getLogger(__name__)


class RemoteUnavailable(RemoteError):
    """No request was sent.

    `retry_after`: seconds until the next permitted attempt. None if only the operator or the next
    month changes the situation.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def _read_clock() -> datetime:
    return datetime.now(UTC)


class GuardedDeployment:
    """Remote deployment with its circuit breaker and its ledger, for any number of threads.

    `cap`: USD for a month, None for no limit. `clock`: gives the month.
    """

    def __init__(
        self,
        generator: RemoteGenerator,
        breaker: CircuitBreaker,
        ledger: Ledger,
        cap: Decimal | None,
        clock: Callable[[], datetime] = _read_clock,
    ) -> None:
        self.breaker = breaker
        self.ledger = ledger
        self._generator = generator
        self._cap = cap
        self._clock = clock

    @classmethod
    def from_settings(
        cls, settings: RemoteSettings, ledger: Ledger, tokens: RemoteTokens | None = None
    ) -> GuardedDeployment:
        """Return the deployment of the settings, without a request to it.

        `tokens`: by default those of the environment. Raises: `SettingsError`.
        """
        generator = RemoteGenerator(settings, tokens or RemoteTokens.from_env())
        return cls(generator, CircuitBreaker(), ledger, settings.monthly_cap)

    @property
    def label(self) -> str:
        """Public name of the deployment."""
        return self._generator.label

    def generate(
        self, fields: Mapping[str, Any], *, on_progress: OnFraction, cancelled: threading.Event
    ) -> RemoteResult:
        """Generate as `RemoteGenerator.generate`, within the budget.

        Failed and cancelled requests count too. Raises: `InvalidRequest`, `RemoteRefusal`,
        `RemoteUnavailable`, another `RemoteError`, `GenerationCancelled`.
        """
        estimate = self._generator.estimate_cost(fields)
        attempt = self.breaker.acquire()
        if attempt is None:
            raise self._refuse()
        try:
            month = self._reserve(estimate)
            meter = Meter()
            try:
                result = self._generator.generate(
                    fields, on_progress=on_progress, cancelled=cancelled, meter=meter
                )
            finally:
                self._settle(month, estimate, meter)
        except BaseException as error:
            if _is_deployment_fault(error):
                attempt.report_failure()
            else:
                attempt.drop()
            raise
        attempt.report_success()
        return result

    def _refuse(self) -> RemoteUnavailable:
        seconds = self.breaker.seconds_left
        until = f"The next attempt is in {seconds:.0f} s." if seconds else "A trial is running."
        failures = f"failed {format_count(self.breaker.failures, 'time')} in a row"
        return RemoteUnavailable(f"{self.label} {failures}. {until}", max(seconds, 1.0))

    def _reserve(self, amount: Decimal) -> str:
        """Reserve an amount and return its month. Raises: `RemoteUnavailable`."""
        month = format_month(self._clock())
        if not amount:
            return month
        try:
            if self.ledger.reserve(month, amount, self._cap):
                return month
            spent = self.ledger.read_spent(month)
        except Exception as error:
            logger.exception("the ledger of remote spending failed")
            # A restart of its database is over soon.
            raise RemoteUnavailable(
                f"no request was sent to {self.label}: the ledger of spending failed.",
                LEDGER_PAUSE_SECONDS,
            ) from error
        raise RemoteUnavailable(
            f"no request was sent to {self.label}: {spent.normalize():f} of {self._cap} USD for "
            f"{month} spent or reserved, and this job may cost {amount.normalize():f} USD."
        )

    def _settle(self, month: str, reserved: Decimal, meter: Meter) -> None:
        cost = self._generator.compute_cost(meter.seconds)
        if meter.may_be_running:
            cost = max(cost, reserved)
        if cost == reserved:
            return
        try:
            self.ledger.settle(month, reserved, cost)
        except Exception:
            # The clip exists, and the reservation stays counted.
            logger.exception(
                "the ledger failed: a cost of %s USD stays counted as %s USD", cost, reserved
            )


def _is_deployment_fault(error: BaseException) -> bool:
    """Whether the deployment failed, not the request or this side."""
    if isinstance(error, RemoteRefusal):
        return not error.is_request_fault
    return isinstance(error, RemoteError) and not isinstance(error, RemoteUnavailable)
