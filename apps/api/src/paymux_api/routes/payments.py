"""`/payments`: create, confirm, cancel, read, list."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import UnsetType

from paymux_api.operation import Call, Charges, KeyRule, Operation
from paymux_api.schemas import (
    CancelPaymentBody,
    ConfirmPaymentBody,
    CreatePaymentBody,
    GetPaymentQuery,
    ListPaymentsQuery,
    PaymentList,
    PaymentMethodBody,
)
from paymux_core.api_keys import Scope
from paymux_core.currencies import CURRENCY_EXPONENTS
from paymux_core.errors import CurrencyNotSupported, ValidationFailed
from paymux_core.ids import Kind, parse_public_id
from paymux_core.money import Money
from paymux_core.records import PaymentMethod
from paymux_flows.cancel import cancel_payment
from paymux_flows.commands import Caller, CancelPayment, ConfirmPayment, CreatePayment, KeyUse, ListPayments, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_flows.read import get_payment, list_payments, payment_exists, sync_payment
from paymux_flows.views import PaymentView

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_METADATA_KEY_MAX = 40
_METADATA_VALUE_MAX = 500
_Value = TypeVar("_Value")


async def _create(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, CreatePaymentBody)
    command = CreatePayment(
        caller=call.authenticated,
        money=Money(body.amount, body.currency),
        capture_method=body.capture_method,
        reference=body.reference,
        description=body.description,
        customer_reference=body.customer_reference,
        payment_method=_payment_method(body.payment_method),
        return_url=body.return_url,
        metadata=body.metadata,
        confirm=body.confirm,
        off_session=body.off_session,
        key=call.key,
    )
    return await create_payment(command, _deps(call))


async def _confirm(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, ConfirmPaymentBody)
    command = ConfirmPayment(
        caller=call.authenticated,
        payment_id=call.target,
        key=_required_key(call),
        payment_method=_payment_method(body.payment_method),
        return_url=body.return_url,
        off_session=body.off_session,
    )
    return await confirm_payment(command, _deps(call))


async def _cancel(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, CancelPaymentBody)
    command = CancelPayment(
        caller=call.authenticated,
        payment_id=call.target,
        key=_required_key(call),
        cancellation_reason=body.cancellation_reason,
    )
    return await cancel_payment(command, _deps(call))


async def _read(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, GetPaymentQuery)
    if query.sync:
        return await sync_payment(call.authenticated, call.target, _deps(call))
    return await get_payment(call.authenticated, call.target, _deps(call))


async def _list(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, ListPaymentsQuery)
    command = ListPayments(
        caller=call.authenticated,
        limit=query.limit,
        starting_after=parse_public_id(Kind.PAYMENT, query.starting_after) if query.starting_after else None,
        reference=_given(query.reference),
        customer_reference=_given(query.customer_reference),
        created_from_ms=_milliseconds(query.created_from),
        created_to_ms=_milliseconds(query.created_to),
        status=_given(query.status),
        gateway=_given(query.gateway),
        metadata=call.filters or None,
    )
    return await list_payments(command, _deps(call))


def _check_create(body: msgspec.Struct, _query: msgspec.Struct, _filters: Mapping[str, str]) -> None:
    assert isinstance(body, CreatePaymentBody)
    if body.currency not in CURRENCY_EXPONENTS:
        raise CurrencyNotSupported("This is not a currency of ISO 4217 in lower case.", param="currency")
    if body.confirm and body.payment_method is None:
        raise ValidationFailed("Give a payment_method to confirm at once.", param="payment_method")


def _check_list(_body: msgspec.Struct, _query: msgspec.Struct, filters: Mapping[str, str]) -> None:
    for key, value in filters.items():
        if not 1 <= len(key) <= _METADATA_KEY_MAX or len(value) > _METADATA_VALUE_MAX:
            raise ValidationFailed("A metadata key has 1 to 40 characters, a value at most 500.", param="metadata")


async def _exists(caller: Caller, payment_id: UUID, deps: object) -> bool:
    assert isinstance(deps, Deps)
    return await payment_exists(caller, payment_id, deps)


def _deps(call: Call) -> Deps:
    assert isinstance(call.deps, Deps)
    return call.deps


def _required_key(call: Call) -> KeyUse:
    assert call.key is not None
    return call.key


def _payment_method(body: PaymentMethodBody | None) -> PaymentMethod | None:
    return None if body is None else PaymentMethod(body.type, body.token, body.gateway_tokens)


def _given(value: _Value | UnsetType) -> _Value | None:
    return None if isinstance(value, UnsetType) else value


def _milliseconds(moment: datetime | UnsetType) -> int | None:
    """Give milliseconds since 1970: no payment is older, and ids have no room for less."""
    return None if isinstance(moment, UnsetType) else max(0, (moment - _EPOCH) // _MILLISECOND)


_ATTEMPT_PROBLEMS = ("reference_in_use", "no_eligible_gateway", "gateway_unavailable")
_CARD = {"type": "card", "token": "sandbox_approve"}
_LINKS = ("read_payment", "confirm_payment", "cancel_payment")
_KEY_PROBLEMS = ("idempotency_key_reused", "idempotency_key_in_use")

OPERATIONS = (
    Operation(
        method="POST",
        path="/payments",
        name="create_payment",
        summary="Create a payment",
        description="Calls no gateway. With `confirm: true` it is created and confirmed in one step; then "
        "`Idempotency-Key` is required.",
        handler=_create,
        scope=Scope.PAYMENTS_WRITE,
        request=CreatePaymentBody,
        example={"amount": 1999, "currency": "eur", "payment_method": _CARD},
        check=_check_create,
        response=PaymentView,
        links=_LINKS,
        success={201: "Created; with `confirm: true` also settled.", 202: "Created and processing."},
        problems=("currency_not_supported", "payment_unexpected_state", *_ATTEMPT_PROBLEMS, *_KEY_PROBLEMS),
        key_rule=KeyRule.REQUIRED_TO_CONFIRM,
        charges=Charges.WITH_CONFIRM,
    ),
    Operation(
        method="GET",
        path="/payments",
        name="list_payments",
        summary="List payments",
        description="Newest first. A page that filters by status, gateway or metadata may be short or empty and still "
        "have `has_more: true`.",
        handler=_list,
        scope=Scope.PAYMENTS_READ,
        query=ListPaymentsQuery,
        check=_check_list,
        filter_prefix="metadata.",
        response=PaymentList,
        success={200: "One page."},
    ),
    Operation(
        method="GET",
        path="/payments/{id}",
        name="read_payment",
        summary="Read a payment",
        handler=_read,
        scope=Scope.PAYMENTS_READ,
        query=GetPaymentQuery,
        response=PaymentView,
        links=_LINKS,
        success={200: "The payment with its attempts."},
        object_kind=Kind.PAYMENT,
        exists=_exists,
    ),
    Operation(
        method="POST",
        path="/payments/{id}/confirm",
        name="confirm_payment",
        summary="Confirm a payment",
        description="Opens an attempt and charges or authorises. A decline is 200 with `status: failed`. An outcome "
        "that is not known yet is 202 with `Retry-After`: read the payment, or repeat the request with the same key. "
        "Use a timeout of 35 s.",
        handler=_confirm,
        scope=Scope.PAYMENTS_CONFIRM,
        request=ConfirmPaymentBody,
        example={"payment_method": _CARD},
        response=PaymentView,
        links=_LINKS,
        success={200: "Settled, or waiting for the customer or a capture.", 202: "Processing."},
        problems=("payment_unexpected_state", "operation_in_progress", *_ATTEMPT_PROBLEMS, *_KEY_PROBLEMS),
        key_rule=KeyRule.REQUIRED,
        charges=Charges.ALWAYS,
        object_kind=Kind.PAYMENT,
        exists=_exists,
    ),
    Operation(
        method="POST",
        path="/payments/{id}/cancel",
        name="cancel_payment",
        summary="Cancel a payment",
        description="Before the charge it is cancelled at once. While the charge runs the wish is stored, 202, and the "
        "payment ends as canceled or succeeded, whichever the gateway proves.",
        handler=_cancel,
        scope=Scope.PAYMENTS_WRITE,
        request=CancelPaymentBody,
        example={"cancellation_reason": "duplicate"},
        response=PaymentView,
        links=_LINKS,
        success={200: "Canceled.", 202: "Under way."},
        problems=("payment_unexpected_state", "operation_in_progress", *_KEY_PROBLEMS),
        key_rule=KeyRule.REQUIRED,
        object_kind=Kind.PAYMENT,
        exists=_exists,
    ),
)
