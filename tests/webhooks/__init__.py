"""Events go out: signed, once or more, to whom they should, whoever dies or hangs."""
