"""Pykka's private names are used in one module, so that a new version of Pykka is read against one page."""

import ast
from pathlib import Path

import pykka
import pytest
from house import PACKAGES, ROOT
from pykka import messages
from pykka_suite.private_names import CHECKS

TESTS = Path(__file__).parents[1]
ON_PURPOSE = {
    "packaging/test_pykka_internals.py": "it looks for them",
    "pykka_suite/private_names.py": "it looks at them",
    "pykka_suite/test_pykka_suite.py": "it takes one away",
    "supervision/test_pykka_registry.py": "a program has set the registry's list anew",
    "supervision/test_unmanaged.py": "a program has an actor class that makes its own thread",
}
"""Test files that use some, and why."""

ONE_MODULE = ROOT / "supervision/process/pykka_internals.py"
PRIVATE = {
    name
    for one in (
        pykka.Actor,
        pykka.ActorProxy,
        pykka.ActorRef,
        pykka.ActorRegistry,
        pykka.Future,
        pykka.ThreadingActor,
        messages,
    )
    for name in (*vars(one), *getattr(one, "__annotations__", ()), "_actor_weakref")
    if name.startswith("_") and not name.startswith(("__", "_abc_"))
}


def used(path: Path) -> set[str]:
    """Private names of Pykka's that a module imports, calls, has in a text, or gives a method of its own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module="pykka", names=names):
                found |= {alias.name for alias in names if alias.name.startswith("_")}
            case ast.ImportFrom(module=str(module)) if module.startswith("pykka._"):
                found.add(module)
            case ast.ImportFrom(module="pykka.messages", names=names):
                found |= {alias.name for alias in names if alias.name.startswith("_")}
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                found |= {name} & PRIVATE
            case ast.ClassDef(body=body):
                found |= {method.name for method in body if isinstance(method, ast.FunctionDef)} & PRIVATE
    return found


def test_the_names_looked_for_are_pykkas() -> None:
    assert {"_ActorStop", "_actor_refs", "_actor_weakref", "_handle_receive", "_start_actor_loop"} <= PRIVATE


def test_the_one_module_uses_some() -> None:
    assert {"_ActorStop", "_actor_refs", "_handle_receive", "_envelope"} <= used(ONE_MODULE)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_module_uses_any(package: str) -> None:
    assert not {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / package).rglob("*.py")
        if path != ONE_MODULE
        for name in used(path)
    }


def test_no_test_uses_any_but_where_that_is_the_point() -> None:
    assert {str(path.relative_to(TESTS)) for path in TESTS.rglob("*.py") if used(path)} == set(ON_PURPOSE)


def test_each_that_is_used_is_looked_at_in_the_installed_pykka() -> None:
    unseen = {name for name in used(ONE_MODULE) if not any(name in looked_at for looked_at in CHECKS)}
    assert not unseen, "give each a check in tests/pykka_suite/private_names.py"
