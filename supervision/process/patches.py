"""gevent's patches: all that this package waits with is patched before it is imported, or none of it is.

Its locks are made when it is imported, its threads and queues later. Where some of these are gevent's and some are not, one waits
in a way that keeps the other from ever running: for ever, past every timeout.
"""

from __future__ import annotations

import sys
from typing import Any

from supervision.errors import SupervisionError

__all__ = ["check_patches", "has_no_mutex"]

_MODULES = ("threading", "queue")


def _patched() -> tuple[bool, ...]:
    monkey: Any = sys.modules.get("gevent.monkey")
    return tuple(monkey is not None and monkey.is_module_patched(name) for name in _MODULES)


_at_import = _patched()


def check_patches() -> None:
    """Refuse to start an actor that could never be waited for.

    Raises:
        SupervisionError: gevent has patched ``threading`` and ``queue`` after this package was imported, or only one of them.
    """
    now = _patched()
    if all(now) and not any(_at_import):
        got = "they came after that"
    elif any(now) and not (all(now) and all(_at_import)):
        got = f"only {' and '.join(name for name, patched in zip(_MODULES, now, strict=True) if patched)}"
    else:
        return
    raise SupervisionError(
        f"gevent's patches: expected those of threading and queue before supervision is imported, or none, got: {got}; call "
        "gevent.monkey.patch_all() before everything else"
    )


def has_no_mutex(inbox: object) -> bool:
    """Whether a queue is gevent's: nothing can put anything into it as long as the present greenlet does not wait."""
    return not hasattr(inbox, "mutex")
