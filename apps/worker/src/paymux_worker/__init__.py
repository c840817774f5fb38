"""The worker: asks about every attempt whose check is due, until it knows."""
