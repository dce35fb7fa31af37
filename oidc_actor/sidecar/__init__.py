"""The sidecar, ``oidc-actor run config.toml``: tokens for programs in other languages, over a socket or in files.

Many managers under one supervisor, and a small HTTP server before them. The HTTP is uvicorn's with httptools and uvloop: well
kept, one event loop for a thousand idle connections, Unix sockets, graceful shutdown, and fast. A framework on top would cost as
much again for five routes; the application speaks ASGI itself, and a token that lives is sent before ASGI begins: half of what
uvicorn needs for a fixed answer (``tests/bench/sidecar.py``).

Import `oidc_actor.sidecar.service` for it; it needs the extra ``run``.
"""
