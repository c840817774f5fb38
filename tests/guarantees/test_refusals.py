"""Each refusal of the database, tried as the application and as the owner; and what would pass without its guard."""

import re
from uuid import UUID

import asyncpg
import pytest

from paymux_core.transitions import ATTEMPT_CLOSED_WITHOUT_MONEY, AttemptStatus
from tests.guarantees.attack import Attack
from tests.guarantees.attack_sql import SLOT, attempt, event, key, late_charge, payment, review, seal
from tests.guarantees.attacks import ATTACKS
from tests.guarantees.attacks_on_deliveries import TOLD, TOLD_STEPS
from tests.guarantees.attacks_on_seals import ANSWERED
from tests.guarantees.attacks_on_webhooks import WEBHOOK_STEPS
from tests.support import builders
from tests.support.builders import Book

ROLES = ["paymux_app", "paymux_owner"]

STEPS = {
    "second attempt": [attempt()],
    "key": [key(success_status="200")],
    "late charge": [late_charge()],
    "late charge refunded": [late_charge(), "update late_charges set status = 'refunded', next_check_at = null"],
    "review": [review()],
    **WEBHOOK_STEPS,
    "checked often": ["update payment_attempts set check_count = check_count + 1 where merchant_id = :m"] * 2,
    TOLD: TOLD_STEPS,
    "slot": [SLOT],
    "slot done": [SLOT, "update schedules set finished_at = :t, lease_expires_at = null"],
    "seal": [seal()],
    "answered key": [key(**ANSWERED, response_body="'answer'")],
}
"""What is written last to reach a stage, in plain SQL."""


class Scene:
    """Two merchants with a payment each; the first one's was brought to a stage."""

    def __init__(self, connection: asyncpg.Connection, book: Book, payment_id: UUID, other: tuple[Book, UUID]) -> None:
        self.connection, self.book, self.payment_id = connection, book, payment_id
        stranger, strange_payment_id = other
        self._names = {
            "m": f"'{book.merchant_id}'::uuid",
            "p": f"'{payment_id}'::uuid",
            "a": f"'{book.account_id}'::uuid",
            "om": f"'{stranger.merchant_id}'::uuid",
            "op": f"'{strange_payment_id}'::uuid",
            "oa": f"'{stranger.account_id}'::uuid",
            "t": f"'{builders.NOW.isoformat()}'::timestamptz",
        }

    @classmethod
    async def at(cls, connection: asyncpg.Connection, stage: str) -> "Scene":
        """Bring a payment to a stage, by the rules as far as there are any."""
        book, stranger = await builders.open_book(connection), await builders.open_book(connection)
        strange_payment_id = await builders.bear_payment(connection, stranger)
        if stage == "succeeded":
            payment_id = await builders.succeeded_payment(connection, book)
        elif stage in {"born", "key", "behind", "review", "canceled", "slot", "slot done"}:
            payment_id = await builders.bear_payment(connection, book, reference="order 1")
        elif stage in {"other amount", "other currency"}:
            payment_id = await builders.bear_payment(connection, book)
            wrong: dict[str, object] = {"amount": 999} if stage == "other amount" else {"currency": "eur"}
            async with builders.planting(connection):
                await builders.confirm_payment(connection, book, payment_id, **wrong)
        else:
            payment_id = await builders.confirmed_payment(connection, book)
        scene = cls(connection, book, payment_id, (stranger, strange_payment_id))
        await scene._finish(stage)
        return scene

    async def _finish(self, stage: str) -> None:
        if stage in {"failed attempt", "second attempt", "failed"}:
            await builders.change_attempt(self.connection, self.book, self.payment_id, "failed")
        if stage in {"failed", "canceled"}:
            await builders.change_payment(self.connection, self.book, self.payment_id, stage)
        if stage in {"attempt succeeded", "other amount", "other currency"}:
            await builders.change_attempt(self.connection, self.book, self.payment_id, "succeeded")
        if stage == "behind":
            # The counter is ahead of the events, so that an event alone breaks no other rule.
            async with builders.planting(self.connection):
                await self.run("update payments set event_position = 2 where merchant_id = :m and id = :p")
        if stage == "resolved review":
            await builders.plant_review(self.connection, self.book, self.payment_id)
        for sql in STEPS.get(stage, ()):
            await self.run(sql)

    async def run(self, sql: str, *, role: str | None = None) -> str:
        """Run plain SQL, with names replaced, as a role; a refusal undoes this much and no more."""
        text = re.sub(r"(?<!:):(m|p|a|om|op|oa|t)\b", lambda match: self._names[match[1]], sql)
        async with self.connection.transaction():
            if role is not None:
                await self.connection.execute(f"set local role {role}")
            tag = await self.connection.execute(text)
            await self.connection.execute("reset role")
            return tag


async def drop_guard(connection: asyncpg.Connection, name: str) -> None:
    """Drop a trigger, a constraint, an index or a NOT NULL by its name. Raises: LookupError if there is none.

    Partitions have triggers of the same name; what they inherit goes with the parent's.
    """
    if "." in name:
        table, column = name.split(".")
        await connection.execute(f"alter table {table} alter column {column} drop not null")
        return
    for catalog, statement in (
        (
            "select tgrelid::regclass::text from pg_trigger where tgname = $1 and tgparentid = 0",
            "drop trigger {name} on {table}",
        ),
        (
            "select conrelid::regclass::text from pg_constraint where conname = $1 and conislocal",
            "alter table {table} drop constraint {name}",
        ),
        ("select indrelid::regclass::text from pg_index where indexrelid = to_regclass($1)", "drop index {name}"),
    ):
        if tables := await connection.fetch(catalog, name):
            for (table,) in tables:
                await connection.execute(statement.format(name=name, table=table))
            return
    message = f"there is no guard named {name}"
    raise LookupError(message)


def by_name(attack: Attack) -> str:
    return f"{attack.item} {attack.name}"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("attack", ATTACKS, ids=by_name)
async def test_the_database_refuses(as_admin: asyncpg.Connection, attack: Attack, role: str) -> None:
    scene = await Scene.at(as_admin, attack.stage)
    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)) as refusal:
        await scene.run(attack.sql, role=role)
    if isinstance(refusal.value, asyncpg.InsufficientPrivilegeError):
        assert role == "paymux_app"
    elif name := getattr(refusal.value, "constraint_name", None):
        assert name in attack.guards
    elif column := getattr(refusal.value, "column_name", None):
        assert f"{refusal.value.table_name}.{column}" in attack.guards


@pytest.mark.parametrize("attack", ATTACKS, ids=by_name)
async def test_without_its_guard_it_would_pass(as_admin: asyncpg.Connection, attack: Attack) -> None:
    scene = await Scene.at(as_admin, attack.stage)
    for guard in attack.guards:
        await drop_guard(as_admin, guard)
    await scene.run(attack.sql, role="paymux_owner")
    with pytest.raises(LookupError):
        await drop_guard(as_admin, "no_such_guard")


@pytest.mark.parametrize("role", ROLES)
async def test_each_holding_state_keeps_a_second_attempt_out(as_admin: asyncpg.Connection, role: str) -> None:
    accepted, refusals = set(), set()
    for status in AttemptStatus:
        scene = await Scene.at(as_admin, "confirmed")
        if status != "started":
            async with builders.planting(as_admin):
                await builders.change_attempt(as_admin, scene.book, scene.payment_id, status)
        try:
            await scene.run(attempt(), role=role)
        except asyncpg.UniqueViolationError as refused:
            refusals.add(refused.constraint_name)
        else:
            accepted.add(status)
    assert accepted == ATTEMPT_CLOSED_WITHOUT_MONEY
    assert refusals == {"attempts_one_holding"}


@pytest.mark.parametrize("role", ROLES)
async def test_a_dead_payment_gives_its_reference_free(as_admin: asyncpg.Connection, role: str) -> None:
    scene = await Scene.at(as_admin, "born")
    await builders.change_payment(as_admin, scene.book, scene.payment_id, "canceled")
    assert await scene.run(payment(reference="'order 1'"), role=role) == "INSERT 0 1"


@pytest.mark.parametrize("role", ROLES)
async def test_another_merchant_uses_the_same_key_and_reference(as_admin: asyncpg.Connection, role: str) -> None:
    scene = await Scene.at(as_admin, "key")
    assert await scene.run(key(merchant_id=":om", payment_id=":op"), role=role) == "INSERT 0 1"
    assert await scene.run(payment(merchant_id=":om", reference="'order 1'"), role=role) == "INSERT 0 1"


@pytest.mark.parametrize("role", ROLES)
async def test_an_event_that_waits_for_its_place_is_accepted(as_admin: asyncpg.Connection, role: str) -> None:
    scene = await Scene.at(as_admin, "behind")
    assert await scene.run(event("2"), role=role) == "INSERT 0 1"


@pytest.mark.parametrize("role", ROLES)
async def test_two_workers_never_lease_one_attempt_and_a_stale_token_writes_nothing(
    as_admin: asyncpg.Connection, role: str
) -> None:
    scene = await Scene.at(as_admin, "confirmed")
    claim = (
        "update payment_attempts set lease_token = '{token}', lease_expires_at = :t + interval '{minutes} minutes' "
        "where merchant_id = :m and payment_id = :p and number = 1 "
        "and (lease_expires_at is null or lease_expires_at <= :t + interval '{at} minutes')"
    )
    finish = "update payment_attempts set lease_token = null, lease_expires_at = null where lease_token = '{token}'"
    first, second = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
    assert await scene.run(claim.format(token=first, minutes=1, at=0), role=role) == "UPDATE 1"
    assert await scene.run(claim.format(token=second, minutes=1, at=0), role=role) == "UPDATE 0"
    assert await scene.run(claim.format(token=second, minutes=3, at=2), role=role) == "UPDATE 1"
    assert await scene.run(finish.format(token=first), role=role) == "UPDATE 0"
    assert await scene.run(finish.format(token=second), role=role) == "UPDATE 1"
