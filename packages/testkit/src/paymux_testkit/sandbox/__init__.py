"""Be the misbehaving gateway: a process of its own, with a book of its own that says what was really charged.

It imports nothing of paymux, on purpose: it is the oracle of the tests, so it must not share their mistakes.

    python -m paymux_testkit.sandbox --home DIR [--host 127.0.0.1] [--port 0] [--clock-divisor 1] [--seed 0]
        [--flaky-rates JSON] [--latency-ms 0] [--zombie-seconds 45] [--stop-on-stdin-eof]

When it listens it writes `DIR/sandbox.json` in one rename, `{"url", "host", "port", "pid", "clock_divisor", "seed"}`,
and prints one line, `sandbox ready URL`. SIGTERM and SIGINT stop it at once, whatever still hangs.

The wire
--------
HTTP/1.1, JSON, keep-alive; an idle connection is never closed. `{gateway}` is `mock` (the token scripts it) or `flaky`
(as mock, but for the token `sandbox_approve` the fault is drawn from (seed, idempotency key) by the rates given).
Every gateway path wants `Authorization: Bearer …`: any token but `sandbox_bad_key`, else 401 `unauthorized`.
Every POST wants one `Idempotency-Key` (1 to 255 characters), else 400 `idempotency_key_missing`. Errors are
`{"error": {"code", "message"}}`.

POST /{gateway}/v1/charges                {payment_id, attempt_id, amount, currency, capture, token, metadata}
    200 Charge, status succeeded, authorized (capture false), pending or declined (with `decline`).
GET  /{gateway}/v1/charges/{id}           200 Charge, or 404 `not_found`.
GET  /{gateway}/v1/charges?attempt_id=…   200 {"data": [Charge]}; an empty list means absent.
POST /{gateway}/v1/charges/{id}/capture   {amount?}  200 Charge (the rest of the hold is released).
POST /{gateway}/v1/charges/{id}/void      {}         200 Charge, now canceled; only while authorized.
POST /{gateway}/v1/charges/{id}/refunds   {amount?}  200 {id: "re_…", status: "succeeded", amount, currency, charge}.
    All three: 409 `charge_unexpected_state`, 422 `amount_too_large`; 404 where there is no such charge.
POST /{gateway}/v1/fences                 {attempt_id, idempotency_key}, the key of the CHARGE; its own is a new one.
    200 {status: "fenced", charge: Charge | null}: no money moved under that key, and none ever will. A pending charge
    is canceled, a held authorisation voided. 409 {error: {code: "already_charged"}, charge: Charge}: it had moved.

POST /{gateway}/v1/webhook_endpoints      {url, secret, previous_secret?, account?, faults?}
    Where the webhooks about charges of this API key go; faults are those of `webhook_events.py`. `GET /book/webhooks`.

Charge = {id: "ch_…", status: succeeded | authorized | pending | declined | canceled, amount, currency, payment_id,
attempt_id, captured, refunded, decline: {code, message, retryable} | null, created_at}.

Idempotency, caches = all: what was executed under a key is answered again byte for byte, a decline and a 500 included,
with the header `Sandbox-Replayed: true`. The same key with another path or other parameters is 400
`idempotency_key_reused`; a fenced key is 409 `fenced`. Not stored under the key, because nothing was executed: 400
(validation), 401, 404, 405, 409 `idempotency_key_in_use`, 409 `fenced` and 429. Keys never expire.

Tokens
------
`sandbox_` and a name in `scripts.py`. A fault strikes the first request of its key; later ones are answered as if there
had been none. With the suffix `_always` it strikes each of them (and `sandbox_pending_always` stays pending for ever).
An unknown token is 400 `unknown_token`. All delays are divided by --clock-divisor; --latency-ms is not.

The book
--------
No authorisation. `GET /book/charges[?payment_id=][&gateway=]` {"data": [{id, payment_id, attempt_id, amount, currency,
captured, refunded, idempotency_key, created_at}]}: one row per real charge, in the order of booking; an authorisation
is there while it is held or captured. `GET /book/requests[?payment_id=][&idempotency_key=]`: the last 100,000 requests
the gateways received since the start, {at, method, path, idempotency_key, payment_id, attempt_id, status, did}.
`GET /book`: both as a page. `GET /health`.

On disk it is `DIR/book.jsonl`, one line per action, appended and never changed. No answer of any kind leaves before
every line written until then is on disk (fsync), so whatever anybody was told survives `kill -9`.
"""
