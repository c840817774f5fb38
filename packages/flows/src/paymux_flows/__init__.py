"""The use cases of paymux, shared by API and worker."""
