"""What the README says is so: its examples run, its tables name what there is."""

import doctest
import re
from pathlib import Path

import pytest

import supervision
from oidc_actor.events import EVENTS
from oidc_actor.testing import Provider

README = Path(__file__).parents[2] / "README.md"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SECRET = "s3cret"


@pytest.fixture
def text():
    return README.read_text()


def test_the_examples_run_as_written(text, monkeypatch) -> None:
    with Provider(client_id="my-service", client_secret=SECRET, token_lifetime_s=60) as provider:
        written = text.replace("https://auth.example.com", provider.issuer_url)
        written = re.sub(r"^```.*$", "", written, flags=re.MULTILINE)
        namespace: dict[str, object] = {}
        examples = doctest.DocTestParser().get_doctest(written, namespace, "README.md", str(README), 0)
        assert len(examples.examples) > 20
        try:
            failed, _ = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(examples, clear_globs=False)
            assert not failed
        finally:
            if "supervisor" in namespace:
                supervision.Supervisor.stop(namespace["supervisor"], timeout=10)


def test_the_table_of_events_names_every_event(text) -> None:
    named = set(re.findall(r"^\| `oidc_actor` \| `(\w+)` ", text, flags=re.MULTILINE))
    assert named == set(EVENTS)


def test_the_table_of_events_names_every_event_of_supervision(text) -> None:
    named = set(re.findall(r"^\| `supervision` \| `(\w+)` ", text, flags=re.MULTILINE))
    reported = set()
    for path in Path(supervision.__file__).parent.rglob("*.py"):
        reported |= set(
            re.findall(r'report\(\s*(?:[^()"]|"(?:info|warning|error)"|\([^()]*\))*?"(\w{8,})"', path.read_text())
        )
    assert {event for event in reported if "_" in event} <= named


def test_the_commands_are_one_pasteable_line_each(text) -> None:
    for command in ("demo", "test"):
        found = re.search(rf"<!-- {command}-command -->\n```sh\n(.*)\n```", text)
        assert found is not None
        assert found[1].startswith("python3 -m venv .venv && ")
