"""`/webhooks/{gateway_account_id}`: what a gateway tells us unasked. The signature is the proof, there is no key."""

from paymux_api.operation import Call, Operation
from paymux_api.schemas import WebhookReceipt
from paymux_core.ids import Kind
from paymux_core.inbound_webhooks import ReceivedWebhook
from paymux_flows.commands import Reply
from paymux_flows.deps import Deps
from paymux_flows.receive_webhook import receive_webhook


async def _receive(call: Call) -> Reply:
    deps, received = call.deps, call.received
    assert isinstance(deps, Deps)
    assert received is not None
    webhook = ReceivedWebhook(received.body, received.headers, deps.clock.now())
    return await receive_webhook(call.target, webhook, deps)


OPERATIONS = (
    Operation(
        method="POST",
        path="/webhooks/{id}",
        name="receive_gateway_webhook",
        summary="Take a gateway's webhook",
        description="Point the gateway's webhooks of one account here. The signature is checked over the bytes as they "
        "came; the answer says that the event is stored, not what came of it: that is asked from the gateway.",
        tag="webhooks",
        handler=_receive,
        scope=None,
        raw_body=True,
        response=WebhookReceipt,
        success={200: "It is stored, or was before."},
        problems=("webhook_refused",),
        object_kind=Kind.GATEWAY_ACCOUNT,
    ),
)
