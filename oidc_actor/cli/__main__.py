"""`python -m oidc_actor.cli` is `oidc-actor`."""

from oidc_actor.cli import main

main()
