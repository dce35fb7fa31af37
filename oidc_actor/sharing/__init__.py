"""One token per key for many processes: the stores that managers share."""
