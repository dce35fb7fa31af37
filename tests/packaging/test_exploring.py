"""What a program shows to the person who explores it: public names, the version, defaults, values that read well."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path

import pytest
from public_modules import MODULES

import oidc_actor
import supervision
from oidc_actor import TokenManager
from oidc_actor.manager.options import Options


@pytest.mark.parametrize("name", MODULES)
def test_a_module_shows_its_public_names_only(name: str) -> None:
    module = importlib.import_module(name)
    shown = dir(module)
    assert [one for one in shown if one != "__version__"] == sorted(module.__all__)
    assert all(hasattr(module, one) for one in shown)


def test_the_package_of_adapters_shows_those_that_were_imported() -> None:
    loaded = "import oidc_actor.adapters.requests, oidc_actor.adapters as a; print(dir(a))"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True, timeout=60).split() == ["['requests']"]


def test_the_manager_shows_what_users_call() -> None:
    assert dir(TokenManager) == [
        "aget_access_token", "aget_token", "child_spec", "force_refresh", "get_access_token", "get_token", "health", "source",
        "start_link", "stop", "subscribe",
    ]  # fmt: skip


def test_a_manager_of_ones_own_shows_its_functions_too() -> None:
    class Mine(TokenManager):
        def audit(self) -> None: ...

    assert set(dir(Mine)) == {*dir(TokenManager), "audit"}


def test_both_packages_say_the_version_of_the_distribution() -> None:
    assert oidc_actor.__version__ == supervision.__version__ == metadata.version("oidc-actor")
    for package in (oidc_actor, supervision):
        with pytest.raises(AttributeError, match="has no attribute 'version'"):
            package.version


def test_the_version_is_not_read_before_it_is_asked_for() -> None:
    program = "import sys, oidc_actor; dir(oidc_actor); print(*sorted({'pykka', 'requests', 'supervision'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60).split() == []


@pytest.mark.parametrize("function", [TokenManager.start_link, TokenManager.child_spec])
def test_every_option_of_a_manager_is_an_argument_with_its_default(function) -> None:
    shown = inspect.signature(function).parameters
    assert list(shown) == [one.name for one in fields(Options)]
    defaults = {one.name: one.default for one in fields(Options)}
    for name, parameter in shown.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        if name == "auth":
            assert parameter.default is parameter.empty
        elif name in ("clock", "rng"):  # functions, of which a person reads an address
            assert parameter.default is None
        else:
            assert parameter.default == defaults[name]


def test_the_typed_programs_use_every_public_name() -> None:
    """`.ci/run` has mypy and pyright check them, both strictly."""
    used: dict[str, set[str]] = {name: set() for name in MODULES}
    for file in (Path(__file__).parents[1] / "typing").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in used:
                used[node.module] |= {one.name for one in node.names}
            elif isinstance(node, ast.Attribute):
                module, _, name = ast.unparse(node).rpartition(".")
                used.get(module if "." in module else f"oidc_actor.{module}", set()).add(name)
    unused = {name: set(importlib.import_module(name).__all__) - names for name, names in used.items()}
    assert not {name: left for name, left in unused.items() if left}
