"""How a client proves who it is, and that a token is its own: keys, certificates, signed statements, DPoP."""
