"""Bodies of events, packed: a whole payment is 1.5 kB of which most is names, and every confirm writes one to the log.

Postgres compresses nothing below 2 kB by itself. A packed body is its version, one byte, and raw deflate with the
dictionary of that version. A dictionary never changes: a better one is another version beside it.
"""

import zlib
from types import MappingProxyType

_VERSION = 1
_LEVEL = 3
"""Twice the level gains a few bytes and costs a quarter more time."""
_WINDOW_BITS = 13
"""8 kB: the dictionary and a whole payment; a larger window only costs memory to clear."""
_DICTIONARIES = MappingProxyType(
    {
        1: (
            b"requires_confirmationrequires_actionrequires_captureprocessingnot_executedvoidedcanceledpendingunknown"
            b'"last_error":{"code":"card_declined","message":"","gateway":"","gateway_code":"","advice":"do_not_retry",'
            b'"retryable":false}"error":{"code":"gateway_timeout","advice":"try_another_gateway","retryable":true}'
            b'"next_action":{"type":"redirect","url":"https://"}"review":{"id":"rv_","reason":"deadline","opened_at":"'
            b'"late_charges":[{"id":"lc_","attempt_id":"att_","status":"open","policy":"review"}],"gateway":"stripe"'
            b'{"id":"pay_01m","object":"payment","amount":1000,"currency":"usd","status":"succeeded",'
            b'"capture_method":"automatic","amount_capturable":0,"amount_captured":1000,"amount_refunded":0,'
            b'"amount_refund_pending":0,"reference":null,"description":null,"customer_reference":null,'
            b'"payment_method":{"type":"card","token":"tok_","gateway_tokens":{}},"return_url":null,"next_action":null,'
            b'"last_error":null,"gateway":"mock","succeeded_attempt_id":"att_01m","processing_deadline_at":"2026-",'
            b'"attempts":[{"id":"att_01m_1","object":"attempt","payment_id":"pay_01m","number":1,"gateway":"mock",'
            b'"gateway_account_id":"ga_01m","status":"succeeded","reason":"charged","amount":1000,"currency":"usd",'
            b'"provider_payment_id":"ch_","error":null,"operations":[],"next_check_at":null,"request_id":"req_",'
            b'"routing":{"rule_version":0,"reason":"priority"},"created_at":"2026-","updated_at":"2026-",'
            b'"finished_at":"2026-"}],"late_charges":[],"cancellation_reason":null,"cancellation_requested_at":null,'
            b'"review":null,"metadata":{"order":""},"livemode":false,"created_at":"2026-","updated_at":"2026-",'
            b'"finalized_at":"2026-","version":3}'
        )
    }
)


def pack_body(body: bytes) -> bytes:
    """Pack a body."""
    deflate = zlib.compressobj(level=_LEVEL, wbits=-_WINDOW_BITS, memLevel=5, zdict=_DICTIONARIES[_VERSION])
    return bytes((_VERSION,)) + deflate.compress(body) + deflate.flush()


def unpack_body(packed: bytes) -> bytes:
    """Give the same bytes back. Raises: KeyError for a version of the future, zlib.error."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_DICTIONARIES[packed[0]])
    return inflate.decompress(packed[1:]) + inflate.flush()
