"""Measure confirms against what Postgres itself can do, in one run on one machine: `make bench`."""
