"""Attacks on endpoints, deliveries and their tries: what was to be told to whom, and what became of it."""

from tests.guarantees.attack import Attack

ENDPOINT = (
    "insert into webhook_endpoints (merchant_id, id, number, url, status, secret, livemode, filters_changed_at, "
    "created_at, updated_at) values (:m, :p, 1, 'https://shop.example/', 'enabled', 'sealed', false, :t, :t, :t)"
)
DELIVERY = (
    "insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, next_try_at, "
    "created_at) values (:m, {event}, 1, {number}, 'pending', {next}, :t)"
)
TRY = (
    "insert into delivery_tries (merchant_id, id, event_id, position, endpoint_number, http_status, duration_ms, "
    "tried_at) values (:m, :p, :p, 1, 1, 200, 5, :t)"
)
TOLD_STEPS = (ENDPOINT, DELIVERY.format(event=":p", number=1, next=":t"), TRY)
TOLD = "told"

ATTACKS_ON_DELIVERIES = [
    Attack(
        4,
        "a delivery that waits has no next try",
        TOLD,
        ("deliveries_pending_has_try",),
        "update webhook_deliveries set next_try_at = null where merchant_id = :m",
    ),
    Attack(
        4,
        "a delivery is born without a next try",
        TOLD,
        ("deliveries_pending_has_try",),
        "insert into webhook_deliveries (merchant_id, event_id, position, endpoint_number, status, created_at) "
        "select merchant_id, payment_id, position, 1, 'pending', :t from payment_events "
        "where merchant_id = :m and position = 2",
    ),
    Attack(
        9,
        "a delivery tells of another merchant's payment",
        TOLD,
        ("deliveries_guard",),
        DELIVERY.format(event=":op", number=1, next=":t"),
    ),
    Attack(
        9,
        "a delivery goes to an endpoint that its merchant does not have",
        TOLD,
        ("deliveries_guard",),
        DELIVERY.format(event=":p", number=2, next=":t"),
    ),
    *(
        Attack(6, name, TOLD, guards, sql)
        for name, guards, sql in (
            ("a try is changed", ("tries_append_only",), "update delivery_tries set http_status = 500"),
            ("a try is removed", ("tries_append_only",), "delete from delivery_tries"),
            ("a try is removed from its partition", ("tries_append_only",), "delete from delivery_tries_default"),
            ("the tries are truncated", ("tries_not_truncated",), "truncate delivery_tries"),
            ("a delivery is removed", ("deliveries_kept",), "delete from webhook_deliveries"),
            ("the deliveries are truncated", ("deliveries_not_truncated",), "truncate webhook_deliveries"),
            (
                "a delivery goes to another endpoint",
                ("deliveries_immutable",),
                "update webhook_deliveries set endpoint_number = 2 where merchant_id = :m",
            ),
            ("an endpoint is removed", ("endpoints_kept",), "delete from webhook_endpoints"),
            (
                "an endpoint takes another mode",
                ("endpoints_immutable",),
                "update webhook_endpoints set livemode = true where merchant_id = :m",
            ),
        )
    ),
]
