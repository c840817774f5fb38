"""The torture itself: that it finds what was planted, leaves nothing behind, and finds nothing in the product."""
