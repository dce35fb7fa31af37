"""The command `oidc-actor`: `demo`, `token`, `check` and `run`. It needs the extra `cli` (typer and rich)."""
