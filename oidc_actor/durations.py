"""What counts as a number of seconds. Pure."""

from __future__ import annotations

import sys
from typing import TypeGuard


def is_seconds(value: object) -> TypeGuard[int | float]:
    """Tell whether that is a number of seconds that arithmetic with times can hold: finite, and at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
