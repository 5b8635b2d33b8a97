"""Making a clip elsewhere, as long as that works and there is money for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from musicgen.errors import RemoteError
from musicgen.remote.budget import Ledger, format_month
from musicgen.remote.circuit_breaker import Breaker
from musicgen.remote.errors import Refused
from musicgen.remote.generate import Made, RemoteMaker, TellFraction
from musicgen.remote.usage import Meter
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import RemoteSettings

logger = logging.getLogger(__name__)


class RemoteUnavailable(RemoteError):
    """Nobody was asked. `retry_after`: seconds until one is again, None where only the operator,
    or the next month, changes that."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Hybrid:
    """A deployment elsewhere with its breaker and its ledger. For any number of threads.

    `cap`: USD for a month, None for any. `clock`: what tells the month.
    """

    def __init__(
        self,
        maker: RemoteMaker,
        breaker: Breaker,
        ledger: Ledger,
        cap: Decimal | None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.breaker = breaker
        self.ledger = ledger
        self._maker = maker
        self._cap = cap
        self._clock = clock

    @classmethod
    def from_settings(
        cls, settings: RemoteSettings, ledger: Ledger, tokens: RemoteTokens | None = None
    ) -> Hybrid:
        """`tokens`: those of the environment by default. Asks nobody yet.

        Raises: `SettingsError`.
        """
        maker = RemoteMaker(settings, tokens or RemoteTokens.from_env())
        return cls(maker, Breaker(), ledger, settings.monthly_cap)

    @property
    def made_by(self) -> str:
        return self._maker.made_by

    def make(
        self, fields: Mapping[str, Any], *, tell: TellFraction, cancelled: threading.Event
    ) -> Made:
        """See `RemoteMaker.make`; what it uses is counted, also of what fails or is cancelled.

        Raises: `InvalidRequest`, `Refused`, `RemoteUnavailable`, another `RemoteError`,
        `GenerationCancelled`.
        """
        estimate = self._maker.estimate(fields)
        attempt = self.breaker.enter()
        if attempt is None:
            raise self._resting()
        try:
            month = self._reserve(estimate)
            meter = Meter()
            try:
                made = self._maker.make(fields, tell=tell, cancelled=cancelled, meter=meter)
            finally:
                self._settle(month, estimate, meter)
        except BaseException as error:
            if _tells_of_the_other_side(error):
                attempt.failed()
            else:
                attempt.dropped()
            raise
        attempt.succeeded()
        return made

    def _resting(self) -> RemoteUnavailable:
        seconds = self.breaker.seconds_left
        until = f"it is asked again in {seconds:.0f} s" if seconds else "it is being tried again"
        failures = f"failed {self.breaker.failures} times in a row"
        return RemoteUnavailable(f"{self.made_by} {failures}: {until}", max(seconds, 1.0))

    def _reserve(self, amount: Decimal) -> str:
        month = format_month(self._clock())
        if not amount:
            return month
        try:
            if self.ledger.reserve(month, amount, self._cap):
                return month
            spent = self.ledger.read_spent(month)
        except Exception as error:
            logger.exception("what is spent elsewhere cannot be counted")
            raise RemoteUnavailable(
                f"{self.made_by} is not asked: what is spent cannot be counted"
            ) from error
        raise RemoteUnavailable(
            f"{self.made_by} is not asked: of the {self._cap} USD of {month} {spent.normalize():f} "
            f"are spent or reserved, and this may cost {amount.normalize():f}"
        )

    def _settle(self, month: str, reserved: Decimal, meter: Meter) -> None:
        cost = self._maker.cost(meter.seconds)
        if meter.lost:
            cost = max(cost, reserved)
        if cost == reserved:
            return
        try:
            self.ledger.settle(month, reserved, cost)
        except Exception:
            # The clip is there, and what is counted is what was reserved.
            logger.exception("%s USD were spent and %s are counted", cost, reserved)


def _tells_of_the_other_side(error: BaseException) -> bool:
    """Whether it is a failure of the deployment, and not of what it was asked or of this side."""
    if isinstance(error, Refused):
        return not error.of_the_request
    return isinstance(error, RemoteError) and not isinstance(error, RemoteUnavailable)
