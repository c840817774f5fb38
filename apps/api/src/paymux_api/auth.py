"""Who asks: from the Authorization header to a stored API key, with a short memory and no tell-tale timing."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from typing import Protocol

from msgspec import Struct

from paymux_api.problems import AuthenticationRequired, PermissionDenied
from paymux_core.api_keys import ApiKeyToken, Scope, hash_api_key, parse_api_key
from paymux_core.ports import Clock
from paymux_core.records import ApiKeyRow

REMEMBER_SECONDS = 4.0
"""A revoked key works no longer than 5 s; one second is left for the look-up itself."""
_REMEMBERED_MAX = 10_000
_NOBODY = bytes(32)
_KEY_ID = slice(len("Bearer pmx_test_"), len("Bearer pmx_test_") + 10)
_DETAIL = "Send `Authorization: Bearer <api key>` with a key that is valid."


class ApiKeyStore(Protocol):
    """Where keys are kept."""

    def find_api_key(self, key_id: str) -> Coroutine[object, object, ApiKeyRow | None]:
        """Read a key by the id inside its token."""
        ...


class _Remembered(Struct, frozen=True, gc=False):
    """A header that was checked, whose key it is, and how long that holds in monotonic seconds."""

    until: float
    authorization: bytes
    row: ApiKeyRow


class Authenticator:
    """Checks keys. They are remembered for `REMEMBER_SECONDS`; one look-up per key runs at a time."""

    def __init__(self, store: ApiKeyStore, *, clock: Clock, peppers: Mapping[int, bytes]) -> None:
        """Keep the peppers by version; the newest is used for the comparison that leads nowhere."""
        assert peppers, "at least one pepper"
        self._store = store
        self._clock = clock
        self._peppers = peppers
        self._newest_pepper = peppers[max(peppers)]
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._looking: dict[str, tuple[float, asyncio.Task[ApiKeyRow | None]]] = {}

    async def authenticate(self, authorization: bytes | None) -> ApiKeyRow:
        """Find the key that a header names. Raises: AuthenticationRequired."""
        if authorization is None:
            raise AuthenticationRequired(_DETAIL)
        remembered = self._remembered.get(authorization[_KEY_ID])
        if remembered is not None and remembered.until <= self._clock.monotonic():
            remembered = None
        # The whole header was checked moments ago: the same bytes are the same key, without the hash.
        if remembered is None or not hmac.compare_digest(remembered.authorization, authorization):
            remembered = await self._checked(authorization, remembered)
        if not self._is_valid(remembered.row):
            raise AuthenticationRequired(_DETAIL)
        return remembered.row

    async def _checked(self, authorization: bytes, remembered: _Remembered | None) -> _Remembered:
        """Check a header by its hash; a row that is remembered is not read again. Raises: AuthenticationRequired."""
        token = _bearer(authorization)
        if token is None:
            raise AuthenticationRequired(_DETAIL)
        known = (remembered.until, remembered.row) if remembered is not None else await self._look_up(token.key_id)
        until, row = known
        if not self._matches(token, row) or row is None:
            raise AuthenticationRequired(_DETAIL)
        checked = _Remembered(until, authorization, row)
        self._remember(checked)
        return checked

    def _remember(self, checked: _Remembered) -> None:
        name = checked.authorization[_KEY_ID]
        self._remembered[name] = checked
        self._remembered.move_to_end(name)
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _matches(self, token: ApiKeyToken, row: ApiKeyRow | None) -> bool:
        """Compare in constant time; a key that does not exist costs the same comparison."""
        pepper = None if row is None else self._peppers.get(row.pepper_version)
        if row is None or pepper is None:
            hmac.compare_digest(hash_api_key(self._newest_pepper, token.token), _NOBODY)
            return False
        return hmac.compare_digest(hash_api_key(pepper, token.token), row.token_hash) and row.livemode == token.livemode

    def _is_valid(self, row: ApiKeyRow) -> bool:
        if row.revoked_at is None and row.expires_at is None:
            return True
        now = self._clock.now()
        return all(ends is None or ends > now for ends in (row.revoked_at, row.expires_at))

    async def _look_up(self, key_id: str) -> tuple[float, ApiKeyRow | None]:
        """Read a row, and until when it holds; those who ask for the same key meanwhile share the answer."""
        looking = self._looking.get(key_id)
        if looking is None:
            # Counted from before the look-up: the row may be revoked while its copy is on the way.
            until = self._clock.monotonic() + REMEMBER_SECONDS
            task = asyncio.get_running_loop().create_task(self._store.find_api_key(key_id))
            looking = self._looking[key_id] = (until, task)
            task.add_done_callback(lambda _: self._looking.pop(key_id, None))
        return looking[0], await asyncio.shield(looking[1])


def require_scope(row: ApiKeyRow, scope: Scope) -> None:
    """Refuse a key without a scope. Raises: PermissionDenied."""
    if scope not in row.scopes:
        raise PermissionDenied(scope)


def _bearer(authorization: bytes | None) -> ApiKeyToken | None:
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return None
    try:
        return parse_api_key(authorization[7:].decode("ascii").strip(" "))
    except UnicodeDecodeError:
        return None
