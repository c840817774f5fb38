"""The API's operations in any order, against the model of the protocol."""
