"""What a probe asks."""

from __future__ import annotations

from oidc_actor.metrics.readings import expires_in_s
from oidc_actor.reading.cell import Ref
from oidc_actor.reading.directory import all_cells, locate
from supervision import SupervisionError


def ready(*servers: Ref | str) -> bool:
    """Say whether valid tokens exist; takes no time and waits for nobody, whatever the providers and managers do.

    In a forked child it counts as the first use of the managers that it looks at: each is made anew, and goes for a token of
    its own as soon as it needs one, at the pace at which managers of one issuer start.

    Args:
        *servers: Managers by ref or name; none of them means every manager of this process.

    Returns:
        Whether each has a valid token. ``False`` where one does not exist, or where there is no manager at all.
    """
    try:
        cells = [locate(server, wait_s=0.0) for server in servers] or all_cells(unused_s=0.0)
    except SupervisionError:
        return False
    return bool(cells) and all(expires_in_s(cell) > 0 for cell in cells)
