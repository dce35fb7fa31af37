"""The architecture, as one table: folders are layers, each imports only downwards; and which of them are pure."""

import subprocess
import sys

import pytest
from house import knots, modules, room

LAYERS = (
    # --- supervision: OTP on Pykka; it knows nothing of tokens
    {"supervision.frozen"},
    {"supervision.exits"},
    {"supervision.errors"},
    {"supervision.children", "supervision.runtime"},
    {"supervision.process", "supervision.strategy"},
    {"supervision.calls", "supervision.monitors", "supervision.named", "supervision.server"},
    {"supervision.async_calls", "supervision.callback_module", "supervision.child_process"},
    {"supervision.supervising"},
    {"supervision.tree"},
    {"supervision.dynamic_supervisor", "supervision.supervisor"},
    {"supervision", "supervision.observer"},
    # --- oidc_actor: a token, always ready
    {"oidc_actor.values"},
    {"oidc_actor.credentials"},
    {"oidc_actor.transport"},
    {"oidc_actor.http", "oidc_actor.protocol"},
    {"oidc_actor.endpoints", "oidc_actor.machine", "oidc_actor.sharing"},
    {"oidc_actor.oidc", "oidc_actor.reading"},
    {"oidc_actor.manager"},
    {
        "oidc_actor",
        "oidc_actor.adapters",
        "oidc_actor.metrics",
        "oidc_actor.pool",
        "oidc_actor.secret_sources",
        "oidc_actor.streams",
    },
    {"oidc_actor.observing"},
    {"oidc_actor.sidecar", "oidc_actor.testing"},
    {"oidc_actor.cli"},
)
"""From the lowest. A room is a folder with all below it, or a file beside them in a package's root."""

PURE = {
    "oidc_actor.credentials",
    "oidc_actor.machine",
    "oidc_actor.protocol",
    "supervision.children",
    "supervision.errors",
    "supervision.exits",
    "supervision.frozen",
    "supervision.strategy",
}
"""Rooms in which no module knows threads, clocks, the network, Pykka or logging."""

IMPURE = {
    "asyncio",
    "logging",
    "pykka",
    "queue",
    "random",
    "requests",
    "socket",
    "structlog",
    "threading",
    "time",
    "urllib3",
}

LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def test_every_room_has_a_layer() -> None:
    assert {room(name) for name in modules()} == set(LEVEL)


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_downwards(name: str) -> None:
    up = [
        f"{name} (layer of {sorted(LAYERS[LEVEL[room(name)]])}) imports {other} (layer of {sorted(LAYERS[LEVEL[room(other)]])})"
        for other in modules()[name].imports
        if room(other) != room(name) and LEVEL[room(other)] >= LEVEL[room(name)]
    ]
    assert not up


def test_no_room_is_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {name: set() for name in LEVEL}
    for module in modules().values():
        arrows[room(module.name)] |= {room(other) for other in module.imports} - {room(module.name)}
    assert not knots(arrows)


def test_the_library_has_nine_layers_at_most() -> None:
    """Without `supervision`, the observer's part, the provider for tests, the sidecar and the command line."""
    library = [layer for layer in LAYERS if any(name.startswith("oidc_actor") for name in layer)][:-3]
    assert 1 + len(library) <= 9


@pytest.mark.parametrize("name", [name for name in modules() if room(name) in PURE])
def test_a_pure_module_imports_nothing_impure(name: str) -> None:
    assert not {other.split(".")[0] for other in modules()[name].foreign} & IMPURE


def test_supervision_never_imports_oidc_actor() -> None:
    for module in modules().values():
        if module.name.startswith("supervision"):
            assert not [other for other in module.imports if other.startswith("oidc_actor")]


def test_requests_is_imported_where_http_is_made_and_in_adapters_of_what_uses_it() -> None:
    places = {
        module.name for module in modules().values() if "requests" in {one.split(".")[0] for one in module.foreign}
    }
    assert {room(name) for name in places} <= {"oidc_actor.http", "oidc_actor.adapters"}
    adapters = {name for name in places if room(name) == "oidc_actor.adapters"}
    assert adapters <= {"oidc_actor.adapters.requests", "oidc_actor.adapters.otlp"}


@pytest.mark.parametrize("missing", ["requests", "structlog", "typer", "rich", "flask", "authlib"])
def test_supervision_imports_without(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import supervision; supervision.Supervisor.start_link([])"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_importing_starts_no_thread_and_touches_no_network() -> None:
    code = "import threading, oidc_actor, supervision; assert threading.active_count() == 1"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
