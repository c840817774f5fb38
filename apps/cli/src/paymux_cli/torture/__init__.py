"""Torture: kill processes under load, and count every charge in the gateway's own book."""
