"""The sandbox's gateway whose faults come by probability and seed."""

from paymux_connectors.sandbox_dialect import SandboxDialect

CONNECTOR = SandboxDialect("flaky")
