"""Everything a merchant's key can ask for: the operations of all resources, one line for each."""

from paymux_api.operation import Operation
from paymux_api.routes.events import EVENT_OPERATIONS
from paymux_api.routes.gateway_webhooks import OPERATIONS as GATEWAY_WEBHOOK_OPERATIONS
from paymux_api.routes.payments import OPERATIONS as PAYMENT_OPERATIONS
from paymux_api.routes.reviews import REVIEW_OPERATIONS
from paymux_api.routes.timeline import TIMELINE_OPERATIONS
from paymux_api.routes.webhook_endpoints import webhook_endpoint_operations


def contract(*, webhooks_allow_insecure: bool = False) -> tuple[Operation, ...]:
    """Give all operations; the setting changes what they accept, and not how they are described."""
    return (
        *PAYMENT_OPERATIONS,
        *TIMELINE_OPERATIONS,
        *REVIEW_OPERATIONS,
        *webhook_endpoint_operations(allow_insecure=webhooks_allow_insecure),
        *EVENT_OPERATIONS,
        *GATEWAY_WEBHOOK_OPERATIONS,
    )


OPERATIONS = contract()
