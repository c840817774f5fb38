"""What tests of paymux and of its connectors need: the sandbox gateway and the connector kit."""
