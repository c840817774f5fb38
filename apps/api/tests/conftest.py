"""What these tests share: a clock that is moved, and keys that are kept in a dictionary."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from paymux_core.api_keys import DEFAULT_SCOPES, ApiKeyToken, hash_api_key, new_api_key
from paymux_core.ids import uuid7
from paymux_core.records import ApiKeyRow

PEPPER = bytes(range(32))
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class MovedClock:
    """Time that a test moves. Units: seconds."""

    seconds: float = 0.0

    def now(self) -> datetime:
        """Give the time of day."""
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Give seconds."""
        return self.seconds


@dataclass(slots=True)
class Keys:
    """The port where keys are kept, and how often it was asked."""

    rows: dict[str, ApiKeyRow] = field(default_factory=dict)
    looks: int = 0

    async def find_api_key(self, key_id: str) -> ApiKeyRow | None:
        """Read a key."""
        self.looks += 1
        return self.rows.get(key_id)

    def add(self, seed: int = 1, **changes: object) -> ApiKeyToken:
        """Store a new key; `changes` replace columns."""
        token = new_api_key(seed * 7**150, mode="test")
        row = ApiKeyRow(
            key_id=token.key_id,
            merchant_id=uuid7(1, seed),
            token_hash=hash_api_key(PEPPER, token.token),
            pepper_version=1,
            scopes=frozenset(DEFAULT_SCOPES),
            livemode=False,
            expires_at=None,
            revoked_at=None,
            limits_exempt=False,
            last4=token.last4,
        )
        self.rows[token.key_id] = replace(row, **changes)
        return token


@pytest.fixture
def clock() -> MovedClock:
    """A clock at its start."""
    return MovedClock()


@pytest.fixture
def keys() -> Keys:
    """No keys."""
    return Keys()
