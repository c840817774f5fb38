"""Empty a database between two cases: much faster than making another."""

TABLES = (
    *("delivery_tries", "webhook_deliveries", "webhook_endpoint_health", "webhook_endpoints"),
    *("inbound_webhook_work", "inbound_webhook_keys", "inbound_webhooks", "merchant_events"),
    *("reviews", "late_charges", "idempotency_keys", "gateway_interactions", "payment_events", "payment_attempts"),
    *("lookup_budgets", "audit_seals", "dropped_partitions"),
    *("payments", "gateway_accounts", "api_keys", "sweeps", "merchants", "schedules"),
)
# As the administrator, whom no guard stops.
EMPTY = (
    "set session_replication_role = replica;"
    + "".join(f"delete from {table};" for table in TABLES)
    + "set session_replication_role = origin"
)
