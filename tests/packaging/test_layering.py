"""Imports point one way: pure modules know no threads, clocks or network, and ``supervision`` stands alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import oidc_actor
import supervision

PACKAGES = {"oidc_actor": Path(oidc_actor.__file__).parent, "supervision": Path(supervision.__file__).parent}
IMPURE = {
    "pykka",
    "threading",
    "time",
    "random",
    "requests",
    "structlog",
    "asyncio",
    "queue",
    "socket",
    "urllib3",
    "logging",
}

# The shell: what may touch threads, clocks, Pykka, logging or the network. Every other module is pure.
SHELL = {
    "oidc_actor": {
        "oidc_actor",
        "oidc_actor.circuit",
        "oidc_actor.client",
        "oidc_actor.clock",
        "oidc_actor.events",
        "oidc_actor.proof.github_actions",
        "oidc_actor.imports",
        "oidc_actor.issuers",
        "oidc_actor.keeper",
        "oidc_actor.manager",
        "oidc_actor.proof.manager_token",
        "oidc_actor.oidc",
        "oidc_actor.options",
        "oidc_actor.proof.proving",
        "oidc_actor.published",
        "oidc_actor.runner",
        "oidc_actor.proof.signed_assertion",
        "oidc_actor.source",
        "oidc_actor.streams",
    },
    "supervision": {
        "supervision",
        "supervision.alarm",
        "supervision.bells",
        "supervision.calls",
        "supervision.departure",
        "supervision.dispatch",
        "supervision.dynamic",
        "supervision.monitors",
        "supervision.offspring",
        "supervision.parent",
        "supervision.prospects",
        "supervision.registry",
        "supervision.reports",
        "supervision.server",
        "supervision.strangers",
        "supervision.stopping",
        "supervision.supervisor",
        "supervision.timers",
        "supervision.tree",
        "supervision.waiting",
    },
}
SHELL_PACKAGES = (
    "supervision.lifecycle",
    "oidc_actor.adapters",
    "oidc_actor.cli",
    "oidc_actor.exchanges",
    "oidc_actor.metrics",
    "oidc_actor.reading",
    "oidc_actor.run",
    "oidc_actor.testing",
)


def modules(package: str) -> dict[str, Path]:
    root = PACKAGES[package]
    found = {}
    for path in root.rglob("*.py"):
        parts = (package, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time, wherever in the file."""
    tree = ast.parse(path.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_shell(module: str, package: str) -> bool:
    return module in SHELL[package] or f"{module}.".startswith(tuple(f"{whole}." for whole in SHELL_PACKAGES))


PURE = [
    (package, module, path)
    for package in PACKAGES
    for module, path in modules(package).items()
    if not is_shell(module, package)
]


@pytest.mark.parametrize(("package", "module", "path"), PURE, ids=[module for _, module, _ in PURE])
def test_a_pure_module_imports_only_pure_ones(package: str, module: str, path: Path) -> None:
    imported = set(imports(path))
    assert not {name.split(".")[0] for name in imported} & IMPURE
    ours = {name for name in imported if name in modules("oidc_actor") or name in modules("supervision")}
    assert not {name for name in ours if is_shell(name, name.split(".")[0]) and name not in PACKAGES}


def test_every_name_in_the_shell_list_exists() -> None:
    for package, shell in SHELL.items():
        assert shell <= set(modules(package))


def test_supervision_never_imports_oidc_actor() -> None:
    for path in modules("supervision").values():
        assert not [name for name in imports(path) if name.startswith("oidc_actor")]


def test_requests_is_imported_where_http_is_made_and_in_its_adapter() -> None:
    places = {
        module
        for module, path in modules("oidc_actor").items()
        if "requests" in {n.split(".")[0] for n in imports(path)}
    }
    assert places <= {"oidc_actor.client", "oidc_actor.adapters.requests"}


@pytest.mark.parametrize("missing", ["requests", "structlog", "typer", "rich", "flask", "authlib"])
def test_supervision_imports_without(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import supervision; supervision.Supervisor.start_link([])"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_no_module_is_longer_than_one_sitting() -> None:
    long = {
        module: count
        for package in PACKAGES
        for module, path in modules(package).items()
        if (count := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_importing_starts_no_thread_and_touches_no_network() -> None:
    code = "import threading, oidc_actor, supervision; assert threading.active_count() == 1"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
