"""The pages: their code runs or is a recipe's, their links lead somewhere, their contents lists are complete."""

import doctest
import importlib
import posixpath
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest
from pages import HEADING, PAGES, ROOT, Block, anchors, blocks, place, read, section, sentences

import oidc_actor.oidc
import supervision
from oidc_actor.metrics import INSTRUMENTS, spans
from oidc_actor.testing import Provider
from supervision import whereis

RECIPES = ROOT / "tests" / "recipes"
WRITTEN = [*PAGES, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.md"))]
BLOCKS = [block for page in WRITTEN for block in blocks(page) if block.language or page in PAGES]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LONGEST_SENTENCE = 36  # words
OURS = ("tests/", "-m sidecar.")


@pytest.fixture(autouse=True)
def no_actor_is_left() -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all(timeout=10)


def is_doctest(block: Block) -> bool:
    return block.language == "python" and block.text.startswith(">>>")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run_as_written(page: str) -> None:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=60) as provider:
        text = "\n".join(block.text for block in blocks(page) if is_doctest(block))
        for written, here in (("auth.example.com", provider.issuer_url), ("api.example.com/me", provider.resource_url)):
            text = text.replace(f"https://{written}", here)
        examples = doctest.DocTestParser().get_doctest(text, {}, page, str(place(page)), 0)
        try:
            failed, _ = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(examples, clear_globs=False)
        finally:
            pykka.ActorRegistry.stop_all(timeout=10)
    assert not failed
    assert whereis("billing.token") is None


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_block_is_played_or_compared(block: Block) -> None:
    if block.kind == "recipe":
        assert block.text == place(block.target).read_text(encoding="utf-8"), f"the block is not {block.target}"
    elif block.kind == "played-by":
        player = place(block.target).read_text(encoding="utf-8")
        lines = {line.partition("  #")[0].strip() for line in block.text.splitlines()} - {""}
        assert re.search(r"^(import pages|from pages import)", player, re.MULTILINE) or all(
            line in player for line in lines
        ), f"{block.target} does not play it"
    elif block.kind in {"demo-command", "test-command"}:
        assert block.page == "README.md"
    elif block.language == "sh":
        for line in block.text.splitlines():
            command = line.partition("  #")[0].partition(" && ")[2] or line.partition("  #")[0]
            if any(word in command for word in OURS):
                asked_with_help(command)
            else:
                assert re.match(r"(python3 -m venv .venv|\.venv/bin/(ruff|mypy|python -m (pip|pytest)) )", line), line
    else:
        assert is_doctest(block), "a doctest, a recipe, or played by a test that a comment before it names"


def asked_with_help(command: str) -> None:
    """What a command of this project's own is: a program that is there, with options that it knows."""
    words = [word for word in shlex.split(command) if "=" not in word or word.startswith("-")]
    assert words[0] == ".venv/bin/python"
    if "pytest" in words:
        files = [word.partition("::")[0] for word in words if word.startswith("tests/")]
        assert all(list(ROOT.glob(file)) for file in files), files
        return
    program = words[1:3] if words[1] == "-m" else words[1:2]
    told = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert all(option in told.stdout for option in options), told.stdout


@pytest.mark.parametrize("page", WRITTEN)
def test_every_link_and_anchor_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", read(page))
    for target in links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        assert place(there).exists(), target
        if anchor:
            assert anchor in anchors(read(there)), target


@pytest.mark.parametrize("page", WRITTEN)
def test_the_files_that_are_named_are_there(page: str) -> None:
    named = re.findall(r"(?<![\w/.])((?:tests|oidc_actor|supervision)/[\w/*.-]+)", read(page))
    homes = {name: place(name).parent for name in ("tests", "oidc_actor", "supervision")}
    missing_ones = {one for one in named if not any(homes[one.split("/")[0]].glob(one.rstrip("./")))}
    assert not missing_ones


@pytest.mark.parametrize("page", PAGES)
def test_one_reading_of_a_sentence_is_enough(page: str) -> None:
    long = [sentence for sentence in sentences(page) if len(sentence.split()) > LONGEST_SENTENCE]
    assert not long, f"more than {LONGEST_SENTENCE} words: make two of it"
    assert not [sentence for sentence in sentences(page) if re.search(r"\b([Ww]hoever|[Nn]obody)\b", sentence)]


@pytest.mark.parametrize("page", PAGES)
def test_the_contents_list_is_complete_and_in_order(page: str) -> None:
    text = read(page)
    listed = re.findall(r"<!-- contents -->\n(.*?)<!-- end -->", text, flags=re.DOTALL)
    assert len(listed) == 1
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = [heading for rank, heading in HEADING.findall(without_code) if rank == "##"]
    links = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", listed[0])
    assert [words for words, _ in links] == headings
    assert [anchor for _, anchor in links] == [
        name for name in anchors(text) if name in dict.fromkeys(a for _, a in links)
    ]


def test_the_first_page_is_short_and_leads_to_every_other() -> None:
    text = read("README.md")
    assert len(text.encode()) <= 12_000
    leads = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    assert {page for page in WRITTEN if page != "README.md"} <= leads


def test_the_page_of_the_tests_names_each_folder() -> None:
    rows = re.findall(r"^\| (`.*?) \|", read("tests/README.md"), flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)/`", " ".join(rows)))
    assert named == {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("answer a 401", "oidc_actor/adapters/README.md#what-happens-on-a-401"),
        ("a fork", "oidc_actor/README.md#multiprocessing-and-forks"),
        ("rotate a secret", "oidc_actor/README.md#rotating-a-secret"),
        ("10,000 tenants", "oidc_actor/README.md#many-tenants"),
        ("what to catch", "oidc_actor/README.md#what-to-catch"),
    ],
)
def test_the_first_page_answers_what_is_asked_first(words: str, answer: str) -> None:
    (row,) = [line for line in read("README.md").splitlines() if line.startswith("|") and words in line]
    assert f"]({answer})" in row
    page, _, anchor = answer.partition("#")
    (heading,) = [one for _, one in HEADING.findall(read(page)) if anchors(f"## {one}") == [anchor]]
    assert len(section(page, heading)) > 1000, "a page that says it"


def recipes() -> list[Path]:
    """What users paste: all that is in the folder but the tests, and what they share."""
    if not RECIPES.is_dir():
        return []
    files = [path for path in RECIPES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [path for path in files if not path.name.startswith(("test_", "conftest"))]


def test_each_recipe_is_shown_by_a_page_and_played_by_a_test() -> None:
    shown = {block.target for block in BLOCKS if block.kind == "recipe"}
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for recipe in recipes():
        name = recipe.relative_to(ROOT).as_posix()
        assert name in shown, f"no page shows {name}"
        assert recipe.with_name(f"test_{recipe.stem}.py").exists() or recipe.name in tests, f"no test plays {name}"


def resolved(name: str) -> object:
    """What a dotted name means: a module, or what is in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_of_ours_is_there(page: str) -> None:
    text = re.sub(r"\]\([^)]*\)", "]", read(page))
    named = set(re.findall(r"(?<![\w./-])((?:oidc_actor|supervision)(?:\.[A-Za-z_]\w*)+)", text))
    others = {one.name for one in INSTRUMENTS} | {"oidc_actor.run", spans.SPAN, *spans.ATTRIBUTES}
    for name in sorted(named - others):
        if not name.endswith((".py", ".md")):
            resolved(name)


def test_each_public_name_is_on_a_page() -> None:
    everywhere = "".join(read(page) for page in PAGES)
    unsaid = [
        name for name in (*oidc_actor.__all__, *oidc_actor.oidc.__all__) if not re.search(rf"\b{name}\b", everywhere)
    ]
    assert not unsaid
    assert not [name for name in supervision.__all__ if not re.search(rf"\b{name}\b", read("supervision/README.md"))]


def test_the_functions_of_a_class_that_a_page_names_are_there() -> None:
    named = set(
        re.findall(r"\b(TokenManager|TokenSource|Supervisor|DynamicSupervisor)\.(\w+)", "".join(map(read, PAGES)))
    )
    assert len(named) > 20
    for kind, function in sorted(named):
        assert hasattr(getattr(oidc_actor, kind, None) or getattr(supervision, kind), function), f"{kind}.{function}"
