"""Managers by key: the pool, and the table that its readers look at."""
