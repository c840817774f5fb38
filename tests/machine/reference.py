"""The model of the protocol in step with the product: the same requests, the same answers, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tests.machine.gateway import Seen
from tests.model.rules import TERMINAL, AttemptStatus, Caches, Outcome, PaymentStatus, Source
from tests.model.store import Answer, Confirm, NextBy, Payment, Store

ACCOUNTS = ("mock", "flaky")


@dataclass(slots=True)
class Reference:
    """The model's store, told what the gateways told the product."""

    store: Store
    requests: int = 0

    @classmethod
    def new(cls) -> Reference:
        """Begin with no payment."""
        account = SimpleNamespace(account=SimpleNamespace(caches=Caches.ALL))
        nothing = SimpleNamespace(moved=lambda _payment, _to: None, opened_further=lambda _payment: None)
        world: Any = SimpleNamespace(
            mutant=None,
            oracle=nothing,
            note=lambda _actor, _what: None,
            between=lambda low, _high: low,
            gateways=dict.fromkeys(ACCOUNTS, account),
        )
        return cls(Store(world))

    def create(self, payment_id: str) -> None:
        """Create a payment."""
        self.store.payments[payment_id] = Payment(id=payment_id, route=ACCOUNTS)

    def confirm(self, payment_id: str, key: str, now: float) -> Answer:
        """Run phase 1."""
        self.requests += 1
        return self.store.confirm(
            Confirm(request_id=f"{self.requests}", payment_id=payment_id, key=key), now=now
        ).answer

    def cancel(self, payment_id: str, now: float) -> None:
        """Cancel, or ask for it."""
        self.store.cancel(payment_id, now=now)

    def heard(self, payment_id: str, number: int, seen: Seen, now: float) -> None:
        """Take one answer of a gateway. Raises: AssertionError if the protocol would not have asked."""
        attempt = self.store.attempts[f"{payment_id}_{number}"]
        payment = attempt.payment
        source = seen.source
        if source is Source.FIRST and attempt.status is not AttemptStatus.STARTED:
            # The first that the gateway hears of it comes from whoever found its process lost.
            source = Source.RESEND
        if source is Source.RESEND:
            assert not payment.cancel_requested, f"{attempt.id} is sent again although a cancel was asked for"
            assert now < (payment.accepted_at or 0.0) + 120.0 + 10.0, f"{attempt.id} is sent again after its window"
        self.store.record(attempt.id, seen.outcome, source=source, now=now, next_by=NextBy.CALLER)

    def lose(self, payment_id: str, number: int, now: float) -> None:
        """Note that the process of an attempt is lost."""
        attempt = self.store.attempts[f"{payment_id}_{number}"]
        if attempt.status is AttemptStatus.STARTED:
            self.store.record(attempt.id, Outcome.UNKNOWN, source=Source.FIRST, now=now, next_by=NextBy.WORKER)

    def status(self, payment_id: str) -> PaymentStatus:
        """Tell where a payment stands."""
        return self.store.payments[payment_id].status

    def attempts(self, payment_id: str) -> list[str]:
        """Tell where its attempts stand."""
        return [str(attempt.status) for attempt in self.store.payments[payment_id].attempts]

    def is_final(self, payment_id: str) -> bool:
        """Tell whether nothing moves it any more."""
        return self.status(payment_id) in TERMINAL
