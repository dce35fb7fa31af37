"""Who else may use the socket and read the token files: modes, given as octal text as in ``chmod``, and a group."""

from __future__ import annotations

import grp
import re

from oidc_actor.sidecar.places import shown
from oidc_actor.values.errors import ConfigError

PRIVATE = 0o600
"""For the owner alone: the mode of sockets and token files that nothing else is said of."""

_MAX_GID = 2**32 - 2  # the last number means "leave it" to chown(2)


def socket_mode(value: object) -> int | ConfigError:
    """Read the socket's mode. To connect takes the right to write; the owner has to have both rights.

    Args:
        value: What the configuration says.
    """
    mode = _mode(value, '"0660"')
    if isinstance(mode, int) and mode & PRIVATE != PRIVATE:
        return ConfigError(f'expected a mode in which the owner may read and write, such as "0660", got {shown(value)}')
    return mode


def token_file_mode(value: object) -> int | ConfigError:
    """Read a token file's mode. Nobody but the owner may write: who writes it chooses what is sent for the token.

    Args:
        value: What the configuration says.
    """
    mode = _mode(value, '"0640"')
    if isinstance(mode, int) and (mode & ~0o644 or not mode & 0o400):
        return ConfigError(
            'expected a mode in which the owner may read and nobody else may write or execute, such as "0640", '
            f"got {shown(value)}"
        )
    return mode


def group(value: object) -> int | ConfigError:
    """Read a group: its name, or its number where it has none on this machine.

    Args:
        value: What the configuration says.
    """
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value) else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_GID:
        return number
    if not isinstance(number, str) or not number or "\0" in number:
        return ConfigError(f"expected a group's name or number, got {shown(value)}")
    try:
        return grp.getgrnam(number).gr_gid
    except (KeyError, UnicodeError):
        return ConfigError(
            f"expected a group's name or number, got {shown(value)}: there is no such group here; create it"
        )


def _mode(value: object, example: str) -> int | ConfigError:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    return ConfigError(f"expected a mode as octal text such as {example}, got {shown(value)}")
