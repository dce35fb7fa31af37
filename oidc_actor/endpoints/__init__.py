"""Exchanges with a provider: one of them, the threads they run on, their sockets and TLS, and what is measured."""
