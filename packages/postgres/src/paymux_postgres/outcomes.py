"""Phase 2 as one statement: the columns of `record_outcomes`, built from phase-2 values."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg
import msgspec

from paymux_core.events import ANSWERED_BY_GATEWAY
from paymux_core.phases import PhaseTwo
from paymux_core.records import Attempt
from paymux_postgres import documents, queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Lane

SQL = queries.load(__file__)

_encode = msgspec.json.Encoder().encode


async def record_outcomes(connection: Lane | asyncpg.Connection, items: Sequence[PhaseTwo]) -> list[bool | None]:
    """Run phase 2; per item whether it won, None if its payment was locked. Locks: payments, attempts, keys."""
    rows = await connection.fetch(
        SQL["record_outcomes"],
        *_outcome_columns(items),
        *_compared_columns(items),
        *_interaction_columns(items),
        *_event_columns(items),
        *_rare_documents(items),
        sorted(ANSWERED_BY_GATEWAY),
    )
    won: dict[int, bool] = {}
    for row in rows:  # who was locked; once more, and true, if the payment moved
        won[row["ord"]] = row["won"] or won.get(row["ord"], False)
    return [won.get(index) for index in range(len(items))]


def _outcome_columns(items: Sequence[PhaseTwo]) -> tuple[list[object], ...]:
    attempts = [item.attempt for item in items]
    after = [item.after for item in items]
    return (
        list(range(len(items))),
        [p.merchant_id for p in after],
        [p.id for p in after],
        [item.before.version for item in items],
        [item.recorded_at for item in items],
        [a.number for a in attempts],
        [a.status for a in attempts],
        [a.reason for a in attempts],
        [a.provider_payment_id for a in attempts],
        [documents.write_refusal(a.error) for a in attempts],
        [a.next_check_at for a in attempts],
        [a.watch_until for a in attempts],
        [a.money_requested for a in attempts],
        [a.was_requires_action for a in attempts],
        [a.fence_count for a in attempts],
        [a.last_request_at for a in attempts],
        [a.finished_at for a in attempts],
        [item.changes_payment for item in items],
        [p.status for p in after],
        [documents.write_action(p.next_action) for p in after],
        [documents.write_last_error(p.last_error) for p in after],
        [p.gateway for p in after],
        [p.amount_captured for p in after],
        [p.amount_capturable for p in after],
        [p.succeeded_attempt for p in after],
        [p.processing_deadline_at for p in after],
        [p.cancellation_reason for p in after],
        [p.finalized_at for p in after],
        [p.event_position for p in after],
        [p.event_sequence for p in after],
        [item.final_position for item in items],
        [item.opened.number if item.opened else None for item in items],
        [item.actor for item in items],
        [item.request_id for item in items],
    )


def _compared_columns(items: Sequence[PhaseTwo]) -> tuple[list[object], ...]:
    """What the attempt had sent and been refused when the decision was made, and when it was to be checked."""
    before = [item.before.attempts[item.attempt.number - 1] for item in items]
    return (
        [a.money_requested for a in before],
        [a.fence_count for a in before],
        [a.last_request_at for a in before],
        [a.next_check_at for a in before],
        [documents.write_refusal(a.error) for a in before],
    )


def _interaction_columns(items: Sequence[PhaseTwo]) -> tuple[list[object], ...]:
    flat = [(index, i) for index, item in enumerate(items) for i in item.interactions]
    return (
        [index for index, _ in flat],
        [UUID(bytes=i.id) for _, i in flat],
        [i.verb for _, i in flat],
        [i.method for _, i in flat],
        [i.url for _, i in flat],
        [i.idempotency_key for _, i in flat],
        [documents.write_mapping(i.request) for _, i in flat],
        [documents.write_mapping(i.response) for _, i in flat],
        [i.response_sha256 for _, i in flat],
        [i.http_status for _, i in flat],
        [i.bytes_sent for _, i in flat],
        [i.transport_error for _, i in flat],
        [i.gateway_request_id for _, i in flat],
        [i.outcome for _, i in flat],
        [i.sent_at for _, i in flat],
        [i.duration_ms for _, i in flat],
        [i.provider_payment_id for _, i in flat],
    )


def _event_columns(items: Sequence[PhaseTwo]) -> tuple[list[object], ...]:
    flat = [(index, event) for index, item in enumerate(items) for event in item.events]
    return (
        [index for index, _ in flat],
        [event.position for _, event in flat],
        [event.sequence for _, event in flat],
        [event.type for _, event in flat],
        [event.from_status for _, event in flat],
        [event.to_status for _, event in flat],
        [event.reason for _, event in flat],
        [None if event.body is None else pack_body(event.body) for _, event in flat],
    )


def _rare_documents(items: Sequence[PhaseTwo]) -> tuple[str, str, str]:
    opened = [_opened(index, item.opened) for index, item in enumerate(items) if item.opened]
    reviews: list[dict[str, object]] = [
        {"ord": index, "id": item.review.id, "attempt_number": item.review.attempt_number, "reason": item.review.reason}
        for index, item in enumerate(items)
        if item.review
    ]
    late: list[dict[str, object]] = [
        {
            "ord": index,
            "id": charge.id,
            "attempt_number": charge.attempt_number,
            "gateway": charge.gateway,
            "provider_payment_id": charge.provider_payment_id,
            "amount": charge.amount,
            "currency": charge.currency,
            "next_check_at": charge.next_check_at,
        }
        for index, item in enumerate(items)
        if (charge := item.late_charge)
    ]
    return _json(opened), _json(reviews), _json(late)


def _json(rows: list[dict[str, object]]) -> str:
    return _encode(rows).decode() if rows else "[]"


def _opened(index: int, attempt: Attempt) -> dict[str, object]:
    method: Mapping[str, object] = {
        "type": attempt.payment_method.type,
        "token": attempt.payment_method.token,
        "gateway_tokens": attempt.payment_method.gateway_tokens,
    }
    return {
        "ord": index,
        "number": attempt.number,
        "gateway": attempt.gateway,
        "gateway_account_id": attempt.gateway_account_id,
        "amount": attempt.amount,
        "currency": attempt.currency,
        "payment_method": {name: value for name, value in method.items() if value is not None},
        "return_url": attempt.return_url,
        "off_session": attempt.off_session,
        "request_digest": attempt.request_digest.hex(),
        "connector_version": attempt.connector_version,
        "request_id": attempt.request_id,
        "routing": attempt.routing,
        "charge_window_ends_at": attempt.charge_window_ends_at,
        "next_check_at": attempt.next_check_at,
    }
