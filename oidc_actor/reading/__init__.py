"""How a token gets from a manager to its readers: cells, readers that wait, listeners."""
