"""The gateways: one file per dialect, and the transport and driver that speak HTTP for them."""
