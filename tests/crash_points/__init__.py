"""Crash points: a confirm that dies at every call of a port, on real Postgres."""
