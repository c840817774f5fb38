"""Tests that cross members: the protocol model, simulation, crash points, shape."""
