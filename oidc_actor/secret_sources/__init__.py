"""Secrets that are fetched or signed for each request: a job's identity, another manager's token, a signed assertion."""
