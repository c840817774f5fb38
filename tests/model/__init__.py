"""A model of the money protocol, run under virtual time: thousands of seeds, one oracle, and a mutant per rule."""
