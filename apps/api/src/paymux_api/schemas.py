"""What merchants send: one struct per body and query, strict in types, names and lengths."""

from datetime import datetime
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from paymux_core.currencies import CURRENCY_EXPONENTS
from paymux_core.money import AMOUNT_MAX
from paymux_core.review_rules import ReviewAction, ReviewReason
from paymux_core.transitions import PaymentStatus
from paymux_flows.review_views import ReviewDocument
from paymux_flows.views import PaymentView

# Patterns end in \Z, for `$` would let a newline follow; the document shows the `$` that browsers know.
Amount = Annotated[int, Meta(gt=0, le=AMOUNT_MAX, description="In minor units: 1999 is 19.99 EUR, and 1999 JPY.")]
Currency = Annotated[
    str,
    # Three letters are a matter of shape; whether they are a currency has a code of its own.
    Meta(
        pattern=r"^[a-z]{3}\Z",
        description="ISO 4217, lower case.",
        extra_json_schema={"enum": sorted(CURRENCY_EXPONENTS)},
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=255)]
Description = Annotated[str, Meta(max_length=1000)]
Token = Annotated[str, Meta(min_length=1, max_length=2048, description="From the gateway; never a card number.")]
Gateway = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
MethodType = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z", description="card, upi, paypal, …")]
ReturnUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#\s\x1c-\x1f\x85]+[^\s\x1c-\x1f\x85]*\Z", max_length=2048)]
MetadataKey = Annotated[str, Meta(min_length=1, max_length=40)]
MetadataValue = Annotated[str, Meta(max_length=500)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=50)]
CancellationReason = Literal["requested_by_merchant", "requested_by_customer", "duplicate", "fraudulent"]
PaymentStatusName = Literal[
    "requires_confirmation", "processing", "requires_action", "requires_capture", "succeeded", "failed", "canceled"
]
PaymentCursor = Annotated[
    str, Meta(pattern=r"^pay_[0-7][0-9a-hjkmnp-tv-z]{25}\Z", description="The `next_cursor` of the page before.")
]
ReviewCursor = Annotated[
    str, Meta(pattern=r"^rv_[0-7][0-9a-hjkmnp-tv-z]{25}\Z", description="The `next_cursor` of the page before.")
]
TimelineCursor = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,17}\.[0-9]{1,9}\.[a-z]{2,3}_[0-9a-f-]{36}(_[0-9]{10})?\Z",
        description="The `next_cursor` of the page before.",
    ),
]
ReviewReasonName = Literal[
    "deadline", "integrity_mismatch", "unmapped_answer", "request_mismatch", "late_charge", "refund_refused",
    "refund_overrun", "unmatched_webhook", "handler_failed", "gateway_configuration", "reconciliation_difference",
]  # fmt: skip
ReviewActionName = Literal["mark_succeeded", "mark_failed", "void", "refund", "accept", "keep_waiting", "dismiss"]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset.")]
assert set(get_args(PaymentStatusName)) == set(PaymentStatus)
assert set(get_args(ReviewReasonName)) == set(ReviewReason)
assert set(get_args(ReviewActionName)) == set(ReviewAction)


class PaymentMethodBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer pays with: one token for whichever gateway is chosen, or one per gateway."""

    type: MethodType
    token: Token | None = None
    gateway_tokens: Annotated[dict[Gateway, Token], Meta(max_length=20)] | None = None


class CreatePaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payment to be made. `reference` names one amount to be collected once."""

    amount: Amount
    currency: Currency
    capture_method: Literal["automatic"] = "automatic"
    reference: Name | None = None
    description: Description | None = None
    customer_reference: Name | None = None
    payment_method: PaymentMethodBody | None = None
    return_url: ReturnUrl | None = None
    metadata: Metadata | None = None
    confirm: bool = False
    off_session: bool = False


class ConfirmPaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out is taken from the payment."""

    payment_method: PaymentMethodBody | None = None
    return_url: ReturnUrl | None = None
    off_session: bool | None = None


class CancelPaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the payment is cancelled."""

    cancellation_reason: CancellationReason = "requested_by_merchant"


class GetPaymentQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sync` asks the gateway now, at most once in 10 s."""

    sync: bool = False


class ListPaymentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of payments; besides these, `metadata.<key>` filters by metadata."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    starting_after: PaymentCursor | UnsetType = UNSET
    reference: Name | UnsetType = UNSET
    customer_reference: Name | UnsetType = UNSET
    created_from: Moment | UnsetType = UNSET
    created_to: Moment | UnsetType = UNSET
    status: PaymentStatusName | UnsetType = UNSET
    gateway: Gateway | UnsetType = UNSET


class PaymentList(msgspec.Struct, frozen=True):
    """One page, newest first; pass `next_cursor` as `starting_after`."""

    data: list[PaymentView]
    has_more: bool
    next_cursor: str | None


class ListReviewsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of reviews."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    starting_after: ReviewCursor | UnsetType = UNSET
    status: Literal["open", "resolved"] | UnsetType = UNSET
    reason: ReviewReasonName | UnsetType = UNSET
    payment_id: PaymentCursor | UnsetType = UNSET


class ResolveReviewBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done, why, and who says so. `evidence` is kept for ever, and in the timeline."""

    action: ReviewActionName
    evidence: Annotated[str, Meta(min_length=1, max_length=4000, description="What shows that this is right.")]
    actor: Annotated[str, Meta(min_length=1, max_length=200, description="Who says so: a name, in free text.")]
    provider_reference: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9_.:-]{1,255}\Z",
                description="The gateway's id of the charge; required for mark_succeeded.",
            ),
        ]
        | None
    ) = None
    settlement_report: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=255,
                description="For mark_failed at a silent gateway: the closed settlement report that lacks the charge.",
            ),
        ]
        | None
    ) = None


class ReviewList(msgspec.Struct, frozen=True):
    """One page, newest first; pass `next_cursor` as `starting_after`."""

    data: list[ReviewDocument]
    has_more: bool
    next_cursor: str | None


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of a timeline; `format=bundle` gives all of it as one document with its hashes."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 100
    starting_after: TimelineCursor | UnsetType = UNSET
    format: Literal["json", "bundle"] = "json"


class Health(msgspec.Struct, frozen=True):
    """Whether this process is up."""

    status: Literal["ok", "unavailable"]


class ViolationView(msgspec.Struct, frozen=True):
    """A payment of which something does not hold that must."""

    invariant: str
    merchant_id: str
    payment_id: str
    detail: str


class InvariantsReport(msgspec.Struct, frozen=True):
    """Whether the book holds; the first violations if it does not."""

    status: Literal["ok", "violated"]
    checked_at: datetime
    violations: list[ViolationView]


class WebhookReceipt(msgspec.Struct, frozen=True):
    """What became of a gateway's webhook: `duplicate` if the same event came before."""

    status: Literal["stored", "duplicate"]
