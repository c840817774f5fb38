"""The REST API of paymux."""

API_VERSION = "0.1.0"
