"""The product under simulation: flows, SQL and connectors on real Postgres, in an order that a seed chooses."""
