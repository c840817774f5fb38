"""Speak HTTP to our own API as a merchant does: the client of the testkit, under the name that tests use."""

from paymux_testkit.merchant_client import Merchant, NotInTime, Reply, eventually, hang_up

__all__ = ["Merchant", "NotInTime", "Reply", "eventually", "hang_up"]
