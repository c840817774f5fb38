"""The worker on real Postgres: it never dies, never starves, holds its leases, and calls a person."""
