"""Mutants of what goes out to merchants, each with the test that has to see it."""

from tests.mutants.patched import Caught, Edit, Mutant

_SENDER = "packages/connectors/src/paymux_connectors/webhook_sender.py"
_URLS = "packages/core/src/paymux_core/webhook_urls.py"
_DELIVERIES_SQL = "packages/postgres/src/paymux_postgres/deliveries.sql"
_GUARD_TESTS = "packages/connectors/tests/test_webhook_guard.py"
_DELIVERY_TESTS = "tests/webhooks/test_deliveries.py"


def _caught(name: str, rule: str, file: str, tests: str, *edits: Edit) -> Caught:
    return Caught(Mutant(name, rule, edits), file, tests)


CAUGHT_WEBHOOKS = (
    _caught(
        "one_good_address_is_enough",
        "a name with one forbidden address is forbidden",
        _GUARD_TESTS,
        "one_address_inside",
        Edit(
            _SENDER,
            "not all(address_is_public(address) for _, address in found)",
            "not any(address_is_public(address) for _, address in found)",
        ),
    ),
    _caught(
        "mapped_addresses_pass",
        "an IPv4 address inside an IPv6 one is looked at as itself, and relays are denied",
        _GUARD_TESTS,
        "usual_lists",
        Edit(
            _URLS,
            "return address.is_global and not address.is_multicast and not denied",
            "return address.is_global and not address.is_multicast",
        ),
    ),
    _caught(
        "redirects_are_followed",
        "a redirect is a failure",
        _GUARD_TESTS,
        "redirect",
        Edit(_SENDER, "allow_redirects=False", "allow_redirects=True"),
    ),
    _caught(
        "results_under_any_lease",
        "how a try ended is written under the lease only",
        _DELIVERY_TESTS,
        "stale_token",
        Edit(
            _DELIVERIES_SQL,
            "    where h.lease_token = $1\n    order by h.merchant_id, h.endpoint_number\n",
            "    where $1::uuid is not null\n    order by h.merchant_id, h.endpoint_number\n",
        ),
    ),
)
