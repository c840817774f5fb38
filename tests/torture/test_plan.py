"""A seed draws one plan: every payment once, and the kills spread over all three."""

from collections import Counter

import pytest

from paymux_cli.torture.plan import Company, Order, Plan, Victim, draw_plan


def plan(seed: int, *, payments: int = 2000, kills: int = 40) -> Plan:
    """Draw a plan."""
    return draw_plan(seed=seed, payments=payments, kills=kills, deadline_seconds=60.0)


def everybody(drawn: Plan) -> list[Order]:
    """List all orders, those of the bursts too."""
    return [*drawn.orders, *(order for pause in drawn.pauses for order in pause.burst)]


def test_the_same_seed_draws_the_same_plan_and_another_seed_another() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


@pytest.mark.parametrize(("payments", "kills"), [(1, 0), (10, 3), (200, 8), (2000, 40)])
def test_every_payment_is_drawn_once_and_every_victim_gets_its_share(payments: int, kills: int) -> None:
    drawn = plan(3, payments=payments, kills=kills)
    assert sorted(order.number for order in everybody(drawn)) == list(range(payments))
    by_victim = Counter(kill.victim for kill in drawn.kills)
    assert by_victim.total() == kills
    assert all(by_victim[victim] >= kills // 4 for victim in Victim)


def test_two_keys_for_one_collection_always_share_a_reference() -> None:
    orders = plan(5).orders
    assert {order.has_reference for order in orders if order.company is Company.OTHER_KEY} == {True}
    assert {order.has_reference for order in orders if order.company is Company.ALONE} == {True, False}


def test_every_fault_of_the_sandbox_is_drawn() -> None:
    drawn = plan(1)
    assert len({order.token for order in everybody(drawn)}) >= 17
