"""The manager, as one GenServer: client API, callbacks, effects, and what it shares with its issuer's others."""
