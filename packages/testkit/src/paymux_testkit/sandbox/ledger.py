"""Hold what was charged and what was answered under each key, in memory and in the journal alike."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from .delays import iso_time
from .journal import Journal


class ChargeStatus(StrEnum):
    """Where a charge stands. Only `succeeded` and `authorized` are money."""

    SUCCEEDED = "succeeded"
    AUTHORIZED = "authorized"
    PENDING = "pending"
    DECLINED = "declined"
    CANCELED = "canceled"
    IN_TRANSIT = "in_transit"  # a swallowed request that has not arrived yet: nobody can see it


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge as the gateway sees it. `due_at`: when it settles by itself. Units: minor units, wall seconds."""

    id: str
    gateway: str
    idempotency_key: str
    payment_id: str
    attempt_id: str
    amount: int
    currency: str
    capture: bool
    status: ChargeStatus
    captured: int
    refunded: int
    decline_code: str | None
    created_at: float
    booked_at: float | None
    due_at: float | None
    # Whose charge it is, so that its webhooks go to whoever has this key.
    api_key: str | None = None

    def is_in_the_book(self) -> bool:
        """Tell whether this is a real charge: money taken, or held."""
        return self.status in {ChargeStatus.SUCCEEDED, ChargeStatus.AUTHORIZED}

    def book_row(self) -> dict[str, object]:
        """Show the charge as a row of the book."""
        assert self.booked_at is not None
        return {
            "id": self.id,
            "payment_id": self.payment_id,
            "attempt_id": self.attempt_id,
            "amount": self.amount,
            "currency": self.currency,
            "captured": self.captured,
            "refunded": self.refunded,
            "idempotency_key": self.idempotency_key,
            "created_at": iso_time(self.booked_at),
        }


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of one idempotency key. No `answer_status`: nothing was executed under it to its end.

    No `request_digest`: only a fence has named this key so far.
    """

    gateway: str
    key: str
    request_digest: str | None
    answer_status: int | None = None
    answer_body: str | None = None
    charge_id: str | None = None
    fenced: bool = False


class Ledger:
    """Two tables, charges and keys, rebuilt from the journal at the start. A line of it is one action, whole."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._charges: dict[str, Charge] = {}
        self._keys: dict[tuple[str, str], KeyRecord] = {}
        self._ids_of_attempt: dict[tuple[str, str], list[str]] = {}
        self._ids_of_payment: dict[str, list[str]] = {}
        self._booked_ids: dict[str, None] = {}  # in the order of booking
        self._watch: Callable[[Charge], None] | None = None
        for entry in journal.read():
            self._replay(entry)

    def watch(self, watcher: Callable[[Charge], None]) -> None:
        """Tell of each charge whose status changes, once the line that says so is handed to the journal."""
        self._watch = watcher

    def write(self, *keys: KeyRecord, charge: Charge | None = None) -> None:
        """Make one action true here and hand it to the journal."""
        entry: dict[str, object] = {"keys": [_columns(record) for record in keys]}
        before = None
        if charge is not None:
            entry["charge"] = _columns(charge)
            before = self._charges.get(charge.id)
            self._keep_charge(charge)
        for record in keys:
            self._keys[record.gateway, record.key] = record
        self._journal.append(entry)
        if charge is not None and self._watch is not None and (before is None or before.status is not charge.status):
            self._watch(charge)

    def key(self, gateway: str, key: str) -> KeyRecord | None:
        """Find what is known of a key."""
        return self._keys.get((gateway, key))

    def charge(self, charge_id: str) -> Charge:
        """Read a charge that must exist."""
        return self._charges[charge_id]

    def find_charge(self, gateway: str, charge_id: str) -> Charge | None:
        """Find a charge that the caller of this gateway may see."""
        charge = self._charges.get(charge_id)
        if charge is None or charge.gateway != gateway or charge.status is ChargeStatus.IN_TRANSIT:
            return None
        return charge

    def charges_of_attempt(self, gateway: str, attempt_id: str) -> list[Charge]:
        """List what the caller of this gateway may see of an attempt."""
        found = (self.find_charge(gateway, id_) for id_ in self._ids_of_attempt.get((gateway, attempt_id), ()))
        return [charge for charge in found if charge is not None]

    def newest_charges(self, gateway: str, *, after: str | None) -> Iterator[Charge]:
        """Yield what the caller of this gateway may see, newest first; `after`: what is older than this one."""
        newest_first = iter(tuple(reversed(self._charges)))
        if after is not None:
            for charge_id in newest_first:
                if charge_id == after:
                    break
        found = (self.find_charge(gateway, charge_id) for charge_id in newest_first)
        return (charge for charge in found if charge is not None)

    def charges_with_due_time(self) -> list[Charge]:
        """List what still has to settle by itself."""
        return [charge for charge in self._charges.values() if charge.due_at is not None]

    def booked(self, payment_id: str | None = None) -> Iterator[Charge]:
        """Yield the real charges, of a payment or all, among those that exist at this moment."""
        if payment_id is None:
            ids: Iterable[str] = tuple(self._booked_ids)
        else:
            ids = tuple(id_ for id_ in self._ids_of_payment.get(payment_id, ()) if id_ in self._booked_ids)
        return (charge for charge in map(self._charges.__getitem__, ids) if charge.is_in_the_book())

    def newest_booked(self, limit: int) -> list[Charge]:
        """List the last real charges, newest first."""
        newest = (id_ for id_, _ in zip(reversed(self._booked_ids), range(limit), strict=False))
        return [charge for charge in map(self._charges.__getitem__, newest) if charge.is_in_the_book()]

    def booked_count(self) -> int:
        """Count what was ever booked, canceled authorisations included."""
        return len(self._booked_ids)

    def _replay(self, entry: dict[str, object]) -> None:
        columns = entry.get("charge")
        if isinstance(columns, dict):
            self._keep_charge(Charge(**{**columns, "status": ChargeStatus(columns["status"])}))
        records = entry["keys"]
        assert isinstance(records, list)
        for record in records:
            self._keys[record["gateway"], record["key"]] = KeyRecord(**record)

    def _keep_charge(self, charge: Charge) -> None:
        if charge.id not in self._charges:
            self._ids_of_attempt.setdefault((charge.gateway, charge.attempt_id), []).append(charge.id)
            self._ids_of_payment.setdefault(charge.payment_id, []).append(charge.id)
        self._charges[charge.id] = charge
        if charge.booked_at is not None:
            self._booked_ids.setdefault(charge.id)


def charge_id_for(gateway: str, key: str) -> str:
    """Derive the id of the one charge that a key can make."""
    return "ch_" + hashlib.sha256(f"{gateway}:{key}".encode()).hexdigest()[:24]


_COLUMNS = {kind: tuple(field.name for field in fields(kind)) for kind in (Charge, KeyRecord)}


def _columns(row: Charge | KeyRecord) -> dict[str, object]:
    return {name: getattr(row, name) for name in _COLUMNS[type(row)]}
