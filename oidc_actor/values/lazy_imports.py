"""What an import says whose library is not installed."""

from __future__ import annotations


def not_installed(module: str, extra: str, missing: ModuleNotFoundError) -> ModuleNotFoundError:
    """Make the error to raise in place of the import's own.

    Args:
        module: The module of ours that needs the library.
        extra: The extra of this distribution that brings it.
        missing: What the import raised.
    """
    return ModuleNotFoundError(
        f'{module} needs {missing.name}, which is not installed: pip install "oidc-actor[{extra}]"', name=missing.name
    )
