"""Word and sign the events of the sandbox's gateways, and make of one change what a fault makes of it."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from .answers import charge_view, to_json
from .delays import wall_seconds
from .ledger import Charge, ChargeStatus

DUPLICATES = 10
THREE_DAYS_SECONDS = 3 * 86_400
TEN_MINUTES_SECONDS = 600


class Fault(StrEnum):
    """What befalls the webhooks of an endpoint."""

    DUPLICATE = auto()  # each event ten times, at once
    OUT_OF_ORDER = auto()  # what was true before comes after it
    LATE = auto()  # an event of three days ago, signed now, as gateways sign what they send again
    FORGED = auto()  # a signature that is none
    WRONG_SECRET = auto()  # a signature by somebody else's secret
    OLD_SECRET = auto()  # signed with the secret from before the roll
    BOTH_SECRETS = auto()  # signed with both, as during a roll
    NEW_EVENT_ID = auto()  # the same once more under another id
    UNKNOWN_REFERENCE = auto()  # a charge that the merchant never asked for
    STALE = auto()  # a signature of ten minutes ago: replayed by somebody who listened
    FUTURE = auto()  # a signature of ten minutes hence
    RESERIALISED = auto()  # the same JSON in other bytes than were signed
    SILENT = auto()  # nothing is sent at all


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the webhooks of one API key go. `account` is repeated in each event."""

    gateway: str
    api_key: str
    url: str
    secret: str
    previous_secret: str | None = None
    account: str | None = None
    faults: tuple[str, ...] = ()

    def has(self, fault: Fault) -> bool:
        """Tell whether a fault strikes here."""
        return fault.value in self.faults


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it is worded: its bytes never change, its signature is made anew for each sending."""

    id: str
    type: str
    body: bytes


def events_of(charge: Charge, endpoint: Endpoint) -> list[Event]:
    """Give what is sent of a change, in the order of sending."""
    if endpoint.has(Fault.SILENT):
        return []
    created_at = wall_seconds() - (THREE_DAYS_SECONDS if endpoint.has(Fault.LATE) else 0)
    event = _worded(charge, endpoint, created_at)
    events = [event]
    if endpoint.has(Fault.DUPLICATE):
        events *= DUPLICATES
    if endpoint.has(Fault.NEW_EVENT_ID):
        events.append(_worded(charge, endpoint, created_at, salt="again"))
    if endpoint.has(Fault.OUT_OF_ORDER) and charge.status is not ChargeStatus.PENDING:
        earlier = replace(charge, status=ChargeStatus.PENDING, captured=0)
        events.append(_worded(earlier, endpoint, created_at - 1))
    if endpoint.has(Fault.UNKNOWN_REFERENCE):
        stranger = replace(charge, id=f"ch_unknown_{charge.id[3:15]}", attempt_id="not one of yours")
        events = [_worded(stranger, endpoint, created_at)]
    return events


def headers_of(event: Event, endpoint: Endpoint) -> Mapping[str, str]:
    """Sign an event now; `flaky` does not sign its id."""
    if endpoint.gateway == "flaky":
        return {"Sandbox-Signature": _signatures(event.body, endpoint)[0], "Sandbox-Event-Id": event.id}
    at = int(wall_seconds())
    if endpoint.has(Fault.STALE):
        at -= TEN_MINUTES_SECONDS
    if endpoint.has(Fault.FUTURE):
        at += TEN_MINUTES_SECONDS
    signatures = _signatures(b"%d.%b" % (at, event.body), endpoint)
    return {"Sandbox-Signature": ",".join([f"t={at}", *(f"v1={signature}" for signature in signatures)])}


def sent_body(event: Event, endpoint: Endpoint) -> bytes:
    """Give the bytes that travel: those that were signed, unless a fault writes them anew."""
    return event.body.replace(b",", b", ", 1) if endpoint.has(Fault.RESERIALISED) else event.body


def _worded(charge: Charge, endpoint: Endpoint, created_at: float, *, salt: str = "") -> Event:
    digest = hashlib.sha256(f"{charge.id}:{charge.status}:{salt}".encode()).hexdigest()
    event_id, kind = f"evt_{digest[:24]}", f"charge.{charge.status}"
    content: dict[str, object] = {"type": kind, "created": int(created_at), "charge": charge_view(charge)}
    if endpoint.account is not None:
        content["account"] = endpoint.account
    # Where the id is not signed it stands outside of what is.
    body = to_json(content if endpoint.gateway == "flaky" else {"id": event_id, **content})
    return Event(event_id, kind, body)


def _signatures(message: bytes, endpoint: Endpoint) -> Sequence[str]:
    if endpoint.has(Fault.FORGED):
        return ["0" * 64]
    if endpoint.has(Fault.WRONG_SECRET):
        return [_signed(message, "another secret")]
    if endpoint.has(Fault.OLD_SECRET):
        return [_signed(message, endpoint.previous_secret or "")]
    signatures = [_signed(message, endpoint.secret)]
    if endpoint.has(Fault.BOTH_SECRETS):
        signatures.append(_signed(message, endpoint.previous_secret or ""))
    return signatures


def _signed(message: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
