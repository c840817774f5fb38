"""Mutants of the product: one rule of the protocol removed by a small patch, in a copy of the tree only."""
