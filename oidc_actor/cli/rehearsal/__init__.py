"""`oidc-actor rehearse`: outages played with a real manager on a clock of their own, beside what the forecast says of them."""
