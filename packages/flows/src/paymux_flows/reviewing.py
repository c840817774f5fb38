"""Call a person about a payment that the worker cannot settle. It needs no gateway, no account and no outcome."""

from uuid import UUID

from msgspec.structs import replace

from paymux_core.asking import is_over
from paymux_core.errors import Overloaded
from paymux_core.phases import NewReview, RenderedPayment, ReviewCall
from paymux_core.records import OpenReview
from paymux_flows.deps import Deps
from paymux_flows.views import render_payment

DEADLINE = "deadline"
HANDLER_FAILED = "handler_failed"
ROUNDS_MAX = 10
"""Each round lost means that somebody else moved the payment; ten in a row means something is wrong."""


async def call_a_person(
    merchant_id: UUID, payment_id: UUID, number: int, *, reason: str, actor: str, deps: Deps
) -> None:
    """Open a review, unless one is open; to `deadline` only after it. Raises: StorageUnavailable, Overloaded."""
    for _ in range(ROUNDS_MAX):
        payment = await deps.store.load_payment(merchant_id, payment_id)
        assert payment is not None, "a payment is never deleted"
        now = deps.clock.now()
        too_early = payment.finalized_at is not None or not is_over(payment, now)
        if payment.review is not None or (reason == DEADLINE and too_early):
            return
        review = NewReview(deps.ids.new(), reason, number)
        under_review = replace(
            payment,
            reviews=(OpenReview(review.id, reason, now),),
            version=payment.version + 1,
            event_position=payment.event_position + 1,
            event_sequence=payment.event_sequence + 1,
            updated_at=now,
        )
        rendered = RenderedPayment(render_payment(under_review), payment.version)
        if await deps.store.open_review(ReviewCall(merchant_id, payment_id, review, now, actor, rendered)):
            return
    raise Overloaded("this payment is changing too quickly; read it again soon", retry_after_seconds=2)


async def call_a_person_unread(
    merchant_id: UUID, payment_id: UUID, number: int, *, reason: str, actor: str, deps: Deps
) -> None:
    """Open a review of a payment that cannot be read; its event has no body. Raises: as above."""
    review = NewReview(deps.ids.new(), reason, number)
    await deps.store.open_review(ReviewCall(merchant_id, payment_id, review, deps.clock.now(), actor))
