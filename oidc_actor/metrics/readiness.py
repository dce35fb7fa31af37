"""What a probe asks."""

from __future__ import annotations

from oidc_actor.metrics.readings import expires_in_s
from oidc_actor.published import Ref
from oidc_actor.reading.cells import all_cells, locate
from supervision import NoProcess


def ready(*servers: Ref | str) -> bool:
    """Say whether valid tokens exist; takes no time and waits for nobody, whatever the providers and managers do.

    Args:
        *servers: Managers by ref or name; none of them means every manager of this process.

    Returns:
        Whether each has a valid token. ``False`` where one does not exist, or where there is no manager at all.
    """
    try:
        cells = [locate(server, revive=False) for server in servers] or all_cells()
    except NoProcess:
        return False
    return bool(cells) and all(expires_in_s(cell) > 0 for cell in cells)
