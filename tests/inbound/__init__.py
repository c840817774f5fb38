"""Webhooks from the gateways on real Postgres: stored once, applied by asking, whatever befalls them."""
