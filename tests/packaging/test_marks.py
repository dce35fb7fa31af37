"""Each promise has tests that say so, and the table of fast tests names files that are there."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import conftest
import pytest

ROOT = Path(__file__).parents[2]
PROMISES = [f"P{number}" for number in range(1, 13)]
FEW = 5


def marks(node: ast.AST) -> set[str]:
    return {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and re.fullmatch(r"P\d+", one.attr)}


def marked_tests() -> Iterator[tuple[str, str]]:
    """The promise and the name of each test that is marked, by itself or with its module."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        of_all: set[str] = set()
        for node in tree.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "pytestmark"
            ):
                of_all = marks(node.value)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                own = set().union(*(marks(one) for one in node.decorator_list))
                yield from ((promise, f"{path.name}::{node.name}") for promise in own | of_all)


def test_each_promise_has_some_tests() -> None:
    found = Counter(promise for promise, _ in marked_tests())
    assert set(found) == set(PROMISES)
    assert {promise: count for promise, count in found.items() if count < FEW} == {}


def test_the_marks_are_declared_and_are_the_promises_of_the_design() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    assert [line.partition(":")[0] for line in declared] == ["fast", *PROMISES]
    design = (ROOT / ".github" / "design" / "design.md").read_text()
    assert re.findall(r"^\| (P\d+) \|", design, flags=re.MULTILINE) == PROMISES


@pytest.mark.parametrize("table", [conftest.FAST, conftest.NOT_FAST], ids=["fast", "not fast"])
def test_the_table_of_fast_tests_names_files_that_are_there(table: dict[str, str]) -> None:
    for folder, patterns in table.items():
        names = [path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).glob("test_*.py")]
        for pattern in patterns.split():
            assert any(fnmatch(name, pattern) for name in names), f"{folder}/test_{pattern}.py"


@pytest.mark.parametrize(
    ("file", "expression", "expected"),
    [
        ("unit/test_failure_policy.py", "fast", True),
        ("unit/test_client.py", "fast", False),
        ("manager/test_waiting_reads.py", "fast", False),
        ("unit/test_failure_policy.py", "P5", True),
        ("manager/test_clocks.py", "P1", False),  # it has P10 and P11
        ("unit/test_failure_policy.py", "P9", False),
        ("unit/test_failure_policy.py", "P5 or P9", True),
        ("manager/test_waiting_reads.py", "", True),
    ],
)
def test_which_files_a_run_imports(file: str, expression: str, expected: bool) -> None:
    assert conftest.may_hold(ROOT / "tests" / file, expression) is expected


@pytest.mark.parametrize(
    ("path", "expression", "is_left_out"),
    [
        ("adapters", "fast", True),
        ("unit", "fast", False),
        ("bench", "fast", False),
        ("cli", "P9", True),
        ("cli", "", False),
    ],
)
def test_a_folder_without_such_tests_is_not_entered(path: str, expression: str, is_left_out: bool) -> None:
    class Config:
        def getoption(self, name: str) -> str:
            return {"markexpr": expression}[name]

    assert (conftest.pytest_ignore_collect(conftest.TESTS / path, Config()) is True) is is_left_out
