"""What tests and code cite of the design is there: each page, each section, each of Pykka's traps."""

import re
from pathlib import Path

import pytest
from pages import PAGES as USERS_PAGES

ROOT = Path(__file__).parents[2]
DESIGN = ROOT / ".github" / "design"
CITING = sorted(
    path
    for folder in ("tests", "oidc_actor", "supervision")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
PAGES = sorted(path.name for path in DESIGN.glob("*.md"))

SECTION = re.compile(r"\.github/design/(\w+\.md)(?:[,:]? ([0-9]+(?:\.[0-9]+)?))?")
OF_A_PAGE = re.compile(r"\b([A-Z]{4,}\.md)\b")  # also what is cited by its name alone
OF_NO_PAGE = re.compile(r"\b(?:DESIGN|SUPERVISION|HOUSE|FLEET)\b")


def sections(page: str) -> set[str]:
    return set(re.findall(r"^#+ ([0-9]+(?:\.[0-9]+)?)", (DESIGN / page).read_text(), flags=re.MULTILINE))


def citations(text: str) -> list[tuple[str, str]]:
    return SECTION.findall(text)


def missing(page: str, section: str) -> bool:
    return page not in PAGES or (section != "" and section not in sections(page))


def test_every_citation_names_a_page_and_a_section_that_are_there() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {page} {section}"
        for path in CITING
        for page, section in citations(path.read_text())
        if missing(page, section)
    }
    assert not wrong
    cited = {cited for path in CITING for cited in citations(path.read_text())}
    assert len(cited) > 12, "the tests of the contract say which section they are about"


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        (".github/design/supervision.md 1.9: x", True),
        (".github/design/supervision.md, whatever", True),
        (".github/design/supervision.md 1.99", False),
        (".github/design/nowhere.md 1", False),
    ],
)
def test_a_wrong_citation_would_be_found(text: str, is_there: bool) -> None:
    ((page, section),) = citations(text)
    assert missing(page, section) is not is_there


def test_every_page_that_is_cited_by_name_is_in_the_repository() -> None:
    known = {path.name for path in (ROOT / ".github").glob("*.md")} | {page.rpartition("/")[2] for page in USERS_PAGES}
    for path in CITING:
        text = path.read_text()
        assert set(OF_A_PAGE.findall(text)) <= known, path
        assert not OF_NO_PAGE.findall(text), path


def test_every_trap_that_is_tested_is_in_the_table_and_no_row_is_missing() -> None:
    rows = [
        int(row) for row in re.findall(r"^\| P(\d+) \|", (DESIGN / "supervision.md").read_text(), flags=re.MULTILINE)
    ]
    assert rows == list(range(1, 29))
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "supervision").glob("test_traps*.py"))
    tested = {
        int(number)
        for names in re.findall(r"^def test_((?:p\d+_)+)", tests, flags=re.MULTILINE)
        for number in re.findall(r"\d+", names)
    }
    assert len(tested) > 15
    assert tested <= set(rows)


def test_the_pages_of_a_contributor_are_one_page_each() -> None:
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        assert len((ROOT / ".github" / page).read_text().split()) < 1000
