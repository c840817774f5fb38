"""The sandbox's well-behaved gateway: the payment method's token scripts it."""

from paymux_connectors.sandbox_dialect import SandboxDialect

CONNECTOR = SandboxDialect("mock")
