"""The command `oidc-actor`: `demo`, `token`, `check`, `rehearse` and `run`. It needs the extra `cli` (typer and rich)."""
