"""`oidc-actor`, and `python -m oidc_actor.cli`: without the extra `cli` it says in one line what to install."""

from __future__ import annotations

import os
import sys

EXTRA_MISSING = 'oidc-actor: the command line needs {name}, which is not installed: pip install "oidc-actor[cli]"\n'


def main() -> None:
    """Run the command line and exit with its status; 1 where the extra `cli` is missing."""
    if not sys.stderr.isatty():
        # No box around a message that is piped. Typer reads this when it is imported.
        os.environ.setdefault("TYPER_USE_RICH", "0")
    try:
        import rich  # noqa: F401 - asked for here so that its absence has one clear answer
        import typer  # noqa: F401
    except ModuleNotFoundError as missing:
        sys.stderr.write(EXTRA_MISSING.format(name=missing.name))
        sys.exit(1)
    from oidc_actor.cli.app import app

    try:
        app()
    except OSError as error:  # a full disk under standard output, for one; what the network does is told elsewhere
        sys.stderr.write(f"oidc-actor: the system refused: {error.strerror or error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
