"""Tables of events name every event; the sidecar's page has a good configuration; the commands can be pasted."""

import ast
import re
from pathlib import Path

import pytest
from pages import blocks, read

import oidc_actor
import supervision
from oidc_actor import ClientCredentials, IdentityAssertion, JWTBearer, TokenExchange
from oidc_actor.manager.log import EVENTS
from oidc_actor.sidecar.config import load
from oidc_actor.sidecar.log import EVENTS as RUN_EVENTS


@pytest.mark.parametrize(
    ("page", "logger", "events"),
    [
        ("oidc_actor/README.md", "oidc_actor", EVENTS),
        ("oidc_actor/sidecar/README.md", "oidc_actor.run", RUN_EVENTS),
    ],
)
def test_the_table_of_events_names_every_event_with_its_level_and_fields(page: str, logger: str, events) -> None:
    text = read(page)
    rows = re.findall(rf"^\| `{re.escape(logger)}` \| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", text, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == list(events)
    assert {name: (level, fields.replace("`", ""), means) for name, level, fields, means in rows} == events


def test_the_sidecar_logs_the_events_of_its_table_with_these_fields() -> None:
    logged: dict[str, set[str]] = {}
    for path in (Path(oidc_actor.__file__).parent / "sidecar").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "log":
                name = ast.literal_eval(node.args[0])
                fields = {one.arg for one in node.keywords if one.arg is not None}
                assert logged.setdefault(name, fields) == fields
    assert logged == {name: set(filter(None, fields.split(", "))) for name, (_, fields, _) in RUN_EVENTS.items()}


def test_the_table_of_events_names_every_event_of_supervision() -> None:
    text = read("supervision/README.md")
    named = set(re.findall(r"^\| `supervision` \| `(\w+)` ", text, flags=re.MULTILINE))
    reported = set()
    for path in Path(supervision.__file__).parent.rglob("*.py"):
        reported |= set(
            re.findall(r'report\(\s*(?:[^()"]|"(?:info|warning|error)"|\([^()]*\))*?"(\w{8,})"', path.read_text())
        )
    assert {event for event in reported if "_" in event} <= named


def test_the_sidecars_configuration_is_a_good_one(tmp_path) -> None:
    path = tmp_path / "config.toml"
    shown = [one for one in blocks("oidc_actor/sidecar/README.md") if one.language == "toml" and one.kind != "recipe"]
    alone = [one.text for one in shown if "[store]" not in one.text]
    path.write_text("\n".join(alone))
    managers = load(path).managers
    assert {type(one.options["auth"]) for one in managers.values()} == {
        ClientCredentials,
        TokenExchange,
        IdentityAssertion,
        JWTBearer,
    }
    assert managers["upstream"].uses == {"billing"}
    (sharing,) = (one.text for one in shown if "[store]" in one.text)
    path.write_text("\n".join([alone[0], sharing]))  # the first has [server], and a manager that shares
    managers = load(path).managers
    shared = {name: one.options["store"] for name, one in managers.items() if "store" in one.options}
    assert set(managers) - set(shared) == {"private"}
    assert {repr(store) for store in shared.values()} == {
        "RedisStore(rediss://cache.internal:6379, namespace='prod-eu')"
    }
    assert managers["alice"].options["store_key"] == "alice"


def test_the_commands_are_one_pasteable_line_each() -> None:
    text = read("README.md")
    for command in ("demo", "test"):
        found = re.search(rf"<!-- {command}-command -->\n```sh\n(.*)\n```", text)
        assert found is not None
        assert found[1].startswith("python3 -m venv .venv && ")
