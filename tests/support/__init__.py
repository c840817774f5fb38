"""What tests of several members share: real Postgres databases, rows in plain SQL."""
