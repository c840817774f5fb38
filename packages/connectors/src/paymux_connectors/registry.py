"""Which gateways are installed: one line each."""

from collections.abc import Mapping
from types import MappingProxyType

from paymux_connectors import flaky, instant, mock, stripe
from paymux_connectors.driver import InProcess
from paymux_core.connector import Connector

CONNECTORS: Mapping[str, Connector] = MappingProxyType(
    {
        "mock": mock.CONNECTOR,
        "flaky": flaky.CONNECTOR,
        "instant": instant.CONNECTOR,
        "stripe": stripe.CONNECTOR,
    }
)

IN_PROCESS: InProcess = MappingProxyType({instant.SCHEME: instant.respond})
