"""Types shared by the tests of a manager."""

from collections.abc import Callable
from typing import TypeAlias

import pykka

from oidc_actor import TokenManager

Start: TypeAlias = Callable[..., "pykka.ActorRef[TokenManager]"]
