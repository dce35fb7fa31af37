"""Where token files may be: each in a place of its own, and none in that of a file which the sidecar reads.

A token file is replaced as a whole, and removed with its manager: a secret in its place would be lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from oidc_actor.credentials.grants import Credentials
from oidc_actor.sidecar.manager_tables import ManagerConfig
from oidc_actor.sidecar.problems import Problems
from oidc_actor.values.secrets import Finder, SecretFile, StoredSecret


def check_places(managers: Mapping[str, ManagerConfig], taken: Mapping[str, Path | None], problems: Problems) -> None:
    """Note every token file that is in the way of something else.

    Args:
        managers: The managers.
        taken: What else has a place, by what to call it.
        problems: Takes what is wrong.
    """
    known = {_place(path): name for name, path in taken.items() if path is not None}
    for name, manager in managers.items():
        for path in _read_by_it(manager):
            known.setdefault(_place(path), f"one that managers.{name} reads")
    for name, manager in managers.items():
        if manager.token_file is None:
            continue
        place = _place(manager.token_file)
        other = known.get(place) or _own_token(manager, place)
        if other is not None:
            problems.add(f"managers.{name}.token_file", f"expected a file of its own, got {other}")
        known.setdefault(place, f"that of managers.{name}")


def _read_by_it(manager: ManagerConfig) -> Iterable[Path]:
    """The files that somebody else keeps for it; a token that it trades may well be another manager's token file."""
    auth: Credentials = manager.options["auth"]
    bundle = manager.options.get("ca_bundle")
    tokens = _tokens(auth)
    kept = [source for source in auth.sources if not any(source is token for token in tokens)]
    return [*_paths(kept), *(() if bundle is None else (Path(bundle),))]


def _own_token(manager: ManagerConfig, place: Path) -> str | None:
    own = {_place(path) for path in _paths(_tokens(manager.options["auth"]))}
    return "that of the token that it trades" if place in own else None


def _tokens(auth: Credentials) -> list[SecretFile]:
    """The tokens that somebody else has signed, as far as they come from files."""
    foreign = (auth.grant_secret if auth.trades_token else None, auth.actor_secret, auth.client_assertion)
    return [source for source in foreign if isinstance(source, SecretFile)]


def _paths(sources: Iterable[StoredSecret]) -> list[Path]:
    return [file.path for source in sources if isinstance(source, Finder) for file in source.files]


def _place(path: Path) -> Path:
    """A path in its only form. A link that stands there is what would be replaced, so the last part is not followed."""
    return Path(os.path.realpath(path.parent)) / path.name
