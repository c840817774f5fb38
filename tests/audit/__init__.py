"""The chain of seals on real Postgres: what is tampered with is found."""
