"""A header is taken only if it is the key; what is remembered ends in time, and a miss costs what a hit costs."""

import asyncio
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from paymux_api.auth import REMEMBER_SECONDS, Authenticator, require_scope
from paymux_api.problems import AuthenticationRequired, PermissionDenied
from paymux_core.api_keys import Scope, hash_api_key, new_api_key

PEPPER = bytes(range(32))


@pytest.fixture
def authenticator(keys: Any, clock: Any) -> Authenticator:
    """The authenticator of these keys."""
    return Authenticator(keys, clock=clock, peppers={1: PEPPER})


def _header(token: Any) -> bytes:
    return f"Bearer {token.token}".encode()


async def test_a_key_is_taken(keys: Any, authenticator: Authenticator) -> None:
    token = keys.add()
    assert (await authenticator.authenticate(_header(token))).key_id == token.key_id


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda header: None,
        lambda header: b"",
        lambda header: header[7:],
        lambda header: b"Basic " + header[7:],
        lambda header: header[:-1],
        lambda header: header + b"x",
        lambda header: header.swapcase(),
        lambda header: header[:-1] + (b"0" if header[-1:] != b"0" else b"1"),
        lambda header: header.replace(b"_test_", b"_live_"),
        lambda header: header.replace(b"pmx", b"pm\xff"),
    ],
)
async def test_anything_else_is_refused(
    spoiled: Callable[[bytes], bytes | None], keys: Any, authenticator: Authenticator
) -> None:
    header = _header(keys.add())
    await authenticator.authenticate(header)
    with pytest.raises(AuthenticationRequired):
        await authenticator.authenticate(spoiled(header))


async def test_the_scheme_is_read_in_any_case(keys: Any, authenticator: Authenticator) -> None:
    token = keys.add()
    await authenticator.authenticate(f"bEARER {token.token} ".encode())


async def test_another_secret_under_the_same_id_is_refused_though_its_checksum_is_right(
    keys: Any, authenticator: Authenticator
) -> None:
    token = keys.add(1)
    # The id is the number's last ten digits to the base 62; the rest is the secret.
    other = new_api_key(7**150 + 62**10, mode="test")
    assert (other.key_id, other.token == token.token) == (token.key_id, False)
    await authenticator.authenticate(_header(token))
    with pytest.raises(AuthenticationRequired):
        await authenticator.authenticate(_header(other))
    await authenticator.authenticate(_header(token))


async def test_a_revoked_or_expired_key_is_refused(keys: Any, clock: Any, authenticator: Authenticator) -> None:
    soon = clock.now() + timedelta(seconds=1)
    for seed, column in ((1, "revoked_at"), (2, "expires_at")):
        header = _header(keys.add(seed, **{column: soon}))
        await authenticator.authenticate(header)
        clock.seconds += 1
        with pytest.raises(AuthenticationRequired):
            await authenticator.authenticate(header)
        clock.seconds -= 1


async def test_a_key_that_is_revoked_meanwhile_ends_within_five_seconds(
    keys: Any, clock: Any, authenticator: Authenticator
) -> None:
    token = keys.add()
    await authenticator.authenticate(_header(token))
    keys.rows[token.key_id] = replace(keys.rows[token.key_id], revoked_at=clock.now())
    clock.seconds += REMEMBER_SECONDS
    assert REMEMBER_SECONDS < 5
    with pytest.raises(AuthenticationRequired):
        await authenticator.authenticate(_header(token))


async def test_a_crowd_with_one_key_is_one_look(keys: Any, authenticator: Authenticator) -> None:
    header = _header(keys.add())
    await asyncio.gather(*(authenticator.authenticate(header) for _ in range(50)))
    await authenticator.authenticate(header)
    assert keys.looks == 1


async def test_a_key_that_does_not_exist_is_compared_all_the_same(
    keys: Any, authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr("paymux_api.auth.hmac.compare_digest", compare)
    stranger = new_api_key(5**200, mode="test")
    with pytest.raises(AuthenticationRequired):
        await authenticator.authenticate(_header(stranger))
    await authenticator.authenticate(_header(keys.add()))
    assert compared == [(32, 32), (32, 32)]


async def test_an_older_pepper_still_opens_and_a_forgotten_one_does_not(keys: Any, clock: Any) -> None:
    token = keys.add()
    both = Authenticator(keys, clock=clock, peppers={1: PEPPER, 2: bytes(32)})
    assert (await both.authenticate(_header(token))).key_id == token.key_id
    newest = Authenticator(keys, clock=clock, peppers={2: PEPPER})
    with pytest.raises(AuthenticationRequired):
        await newest.authenticate(_header(token))


async def test_what_is_kept_is_no_key(keys: Any) -> None:
    token = keys.add()
    row = keys.rows[token.key_id]
    assert token.token.encode() not in row.token_hash
    assert row.token_hash == hash_api_key(PEPPER, token.token) != hash_api_key(bytes(32), token.token)


async def test_a_scope_that_is_missing_is_named(keys: Any) -> None:
    row = keys.rows[keys.add().key_id]
    require_scope(row, Scope.PAYMENTS_READ)
    with pytest.raises(PermissionDenied) as refused:
        require_scope(row, Scope.REFUNDS_WRITE)
    assert refused.value.scope == "refunds:write"
