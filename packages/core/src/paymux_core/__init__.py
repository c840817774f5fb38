"""The rules of paymux: pure, synchronous, without dependencies."""
