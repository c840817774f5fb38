"""Hold our tables against the gateway's book: what was taken, what we say was taken, and what nobody accounts for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from paymux_cli.torture.telling import Telling
from paymux_cli.torture.watch import FINAL
from paymux_core.ids import Kind, public_id
from paymux_postgres.inspection import Standing, Suspicion

BookRow = Mapping[str, object]


class Crime(StrEnum):
    """What may not happen; the value is the sentence of the report."""

    DOUBLE = "more than one unreturned charge of a payment, or of one order of a client"
    LOST = "a charge whose payment is not succeeded and has no open review, or a payment answered 2xx that is not there"
    UNPAID = "a payment that is succeeded and has no charge of its amount in the book"
    REGRESSED = "a final status that changed, seen by polling, by a client, or in the event log"
    UNRESOLVED = "a payment that is not final after the quiet phase, and no person was told"
    TOO_LATE = "a charge sent after its charge window, or later than the latest first byte"
    MISANSWERED = "an answer outside the contract, a key that answers for another payment, or no answer at all"
    UNTOLD = "an event that its merchant was not told of and will not be, or that the feed leaves out or repeats"
    MISTOLD = "a delivery with a wrong signature or number, or one that was told twice and otherwise"
    VIOLATION = "a row that an invariant of the database finds"


@dataclass(frozen=True, slots=True)
class Finding:
    """One crime, and the payment to look at."""

    crime: Crime
    payment_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known after the quiet phase. `charge_windows` by the ids of attempts as gateways know them."""

    charges: Sequence[BookRow]
    requests: Sequence[BookRow]
    standings: Sequence[Standing]
    promised: frozenset[str]
    regressions: Mapping[str, str]
    ends_left: Sequence[Suspicion]
    late_first_bytes: Sequence[Suspicion]
    violations: Sequence[Suspicion]
    misanswers: Sequence[tuple[str, str]]
    telling: Telling
    webhooks: int
    """How many tries of the gateways to tell us something."""
    charge_windows: Mapping[str, datetime]
    sending_seconds_max: float
    """How long after its decision a charge may still leave: what began inside the window may end after it."""


def examine(evidence: Evidence) -> list[Finding]:
    """List every crime."""
    standings = {public_id(Kind.PAYMENT, standing.payment_id): standing for standing in evidence.standings}
    return [
        *_doubles(evidence, standings),
        *_lost(evidence, standings),
        *_unpaid(evidence, standings),
        *_regressed(evidence),
        *_unresolved(standings),
        *_too_late(evidence),
        *(Finding(Crime.MISANSWERED, payment_id, detail) for payment_id, detail in evidence.misanswers),
        *(Finding(Crime.UNTOLD, payment_id, detail) for payment_id, detail in evidence.telling.untold),
        *(Finding(Crime.MISTOLD, payment_id, detail) for payment_id, detail in evidence.telling.mistold),
        *(_suspected(Crime.VIOLATION, suspicion) for suspicion in evidence.violations),
    ]


def _unreturned(charge: BookRow) -> bool:
    """Tell whether the customer is without this money: taken or held, and not all given back."""
    return charge["captured"] == 0 or charge["refunded"] != charge["captured"]


def _doubles(evidence: Evidence, standings: Mapping[str, Standing]) -> Iterator[Finding]:
    of_payment: dict[str, list[str]] = defaultdict(list)
    of_order: dict[str, list[str]] = defaultdict(list)
    for charge in filter(_unreturned, evidence.charges):
        payment_id = str(charge["payment_id"])
        of_payment[payment_id].append(str(charge["id"]))
        standing = standings.get(payment_id)
        if standing is not None and standing.customer_reference is not None:
            of_order[standing.customer_reference].append(payment_id)
    for payment_id, charges in of_payment.items():
        if len(charges) > 1:
            yield Finding(Crime.DOUBLE, payment_id, f"charges {', '.join(charges)}")
    for order, payments in of_order.items():
        if len(set(payments)) > 1:
            yield Finding(Crime.DOUBLE, payments[0], f"{order} was charged by {', '.join(sorted(set(payments)))}")


def _lost(evidence: Evidence, standings: Mapping[str, Standing]) -> Iterator[Finding]:
    for charge in filter(_unreturned, evidence.charges):
        payment_id = str(charge["payment_id"])
        standing = standings.get(payment_id)
        if standing is None:
            yield Finding(Crime.LOST, payment_id, f"charge {charge['id']} of a payment that is not there")
        elif standing.status != "succeeded" and standing.open_review is None:
            yield Finding(Crime.LOST, payment_id, f"charge {charge['id']} of a payment that is {standing.status}")
    for payment_id in sorted(evidence.promised - standings.keys()):
        yield Finding(Crime.LOST, payment_id, "answered 2xx, and not there")


def _unpaid(evidence: Evidence, standings: Mapping[str, Standing]) -> Iterator[Finding]:
    booked = {
        (str(charge["payment_id"]), charge["captured"], str(charge["currency"]).lower())
        for charge in evidence.charges
        if _unreturned(charge)
    }
    for payment_id, standing in standings.items():
        if standing.status == "succeeded" and (payment_id, standing.amount, standing.currency) not in booked:
            yield Finding(Crime.UNPAID, payment_id, f"{standing.amount} {standing.currency} is not in the book")


def _regressed(evidence: Evidence) -> Iterator[Finding]:
    for payment_id, detail in evidence.regressions.items():
        yield Finding(Crime.REGRESSED, payment_id, detail)
    for suspicion in evidence.ends_left:
        yield _suspected(Crime.REGRESSED, suspicion)


def _unresolved(standings: Mapping[str, Standing]) -> Iterator[Finding]:
    for payment_id, standing in standings.items():
        if standing.status not in FINAL and standing.open_review is None:
            yield Finding(Crime.UNRESOLVED, payment_id, f"still {standing.status}")


def _too_late(evidence: Evidence) -> Iterator[Finding]:
    slack = timedelta(seconds=evidence.sending_seconds_max)
    for request in evidence.requests:
        attempt = str(request["attempt_id"])
        ends_at = evidence.charge_windows.get(attempt)
        if ends_at is None or not _is_charge(request):
            continue
        late = datetime.fromisoformat(str(request["at"])) - ends_at
        if late > slack:
            yield Finding(
                Crime.TOO_LATE, str(request["payment_id"]), f"{attempt} charged {late.total_seconds():.2f} s too late"
            )
    for suspicion in evidence.late_first_bytes:
        yield _suspected(Crime.TOO_LATE, suspicion)


def _is_charge(request: BookRow) -> bool:
    return request["method"] == "POST" and str(request["path"]).endswith("/charges")


def _suspected(crime: Crime, suspicion: Suspicion) -> Finding:
    return Finding(crime, public_id(Kind.PAYMENT, suspicion.payment_id), suspicion.detail)
