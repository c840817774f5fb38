"""What two items of one batch may not share: the second one waits for the next batch."""

from collections.abc import Hashable

from paymux_core.phases import NewPayment, PhaseOne, PhaseTwo


def keys_of_create(item: NewPayment) -> tuple[Hashable, ...]:
    """Give its reference and key."""
    payment = item.payment
    keys: list[Hashable] = []
    if payment.reference is not None:
        keys.append((payment.merchant_id, "reference", payment.reference))
    if item.key is not None:
        keys.append((payment.merchant_id, "key", item.key.idempotency_key))
    return tuple(keys)


def keys_of_phase_one(item: PhaseOne) -> tuple[Hashable, ...]:
    """Give its payment and key."""
    merchant_id = item.payment.merchant_id
    return ((merchant_id, item.payment.id), (merchant_id, item.key.idempotency_key))


def keys_of_phase_two(item: PhaseTwo) -> tuple[Hashable, ...]:
    """Give its payment: two outcomes of one are written one after the other."""
    return ((item.before.merchant_id, item.before.id),)
