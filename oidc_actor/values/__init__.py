"""What every layer speaks: errors, secrets, tokens, addresses, clocks."""
