"""The whole product from outside: real processes, a real database, and a gateway that keeps its own book."""
