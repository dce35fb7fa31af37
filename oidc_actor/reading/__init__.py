"""How a token gets from a manager to whoever asks: cells, readers that wait, listeners."""
