"""Which gateways are installed: one line each."""

from collections.abc import Mapping
from types import MappingProxyType

from paymux_connectors import flaky, instant, mock, sandbox_webhooks, stripe, stripe_webhooks
from paymux_connectors.driver import InProcess
from paymux_core.connector import Connector
from paymux_core.inbound_webhooks import WebhookDialect

CONNECTORS: Mapping[str, Connector] = MappingProxyType(
    {
        "mock": mock.CONNECTOR,
        "flaky": flaky.CONNECTOR,
        "instant": instant.CONNECTOR,
        "stripe": stripe.CONNECTOR,
    }
)

WEBHOOKS: Mapping[str, WebhookDialect] = MappingProxyType(
    {
        "mock": sandbox_webhooks.MOCK,
        "flaky": sandbox_webhooks.FLAKY,
        "stripe": stripe_webhooks.WEBHOOKS,
    }
)

IN_PROCESS: InProcess = MappingProxyType({instant.SCHEME: instant.respond})
