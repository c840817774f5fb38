"""Remember the last requests the gateways received, for people and for tests that count calls."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from .delays import iso_time

REQUESTS_MAX = 100_000  # some 60 MB; an oracle must not run out of memory in a long soak


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request and what it did. `status` is None where no answer was given."""

    at: float
    method: str
    path: str
    idempotency_key: str | None
    payment_id: str | None
    attempt_id: str | None
    status: int | None
    did: str

    def row(self) -> dict[str, object]:
        """Show it as the list does."""
        return {
            "at": iso_time(self.at),
            "method": self.method,
            "path": self.path,
            "idempotency_key": self.idempotency_key,
            "payment_id": self.payment_id,
            "attempt_id": self.attempt_id,
            "status": self.status,
            "did": self.did,
        }


class RequestLog:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._requests: deque[SeenRequest] = deque(maxlen=REQUESTS_MAX)

    def add(self, request: SeenRequest) -> None:
        """Remember one."""
        self._requests.append(request)

    def rows(self, *, payment_id: str | None, idempotency_key: str | None) -> Iterator[dict[str, object]]:
        """Yield those that are remembered at this moment."""
        seen = tuple(self._requests)
        return (
            request.row()
            for request in seen
            if (payment_id is None or request.payment_id == payment_id)
            and (idempotency_key is None or request.idempotency_key == idempotency_key)
        )

    def newest(self, limit: int) -> list[SeenRequest]:
        """List the last ones, newest first."""
        return [request for request, _ in zip(reversed(self._requests), range(limit), strict=False)]

    def count(self) -> int:
        """Count what is remembered."""
        return len(self._requests)
