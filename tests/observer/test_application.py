"""The observer's HTTP: the page and its guards, one snapshot, the stream of differences, and how streams end."""

from __future__ import annotations

import asyncio
import re
import threading
from importlib.resources import files
from typing import Any

import pytest
from observer.asgi import asked, reading, scope_of
from threads import DEADLINE_S, eventually

import supervision.observer.application as application
from oidc_actor.observing import managers
from supervision import ChildSpec, Server, Supervisor, kill, whereis
from supervision.observer import Observer


class Worker(Server):
    pass


@pytest.fixture
def shop() -> str:
    Supervisor.start_link([ChildSpec("till", Worker, name="till"), ChildSpec("shelf", Worker)], name="shop")
    return "shop"


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "supervision-observer"]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script_of_its_text(shop: str) -> None:
    app = Observer(shop)
    page = asked(app, "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    text = page.body.decode()
    assert not re.search(r"https?://|//\w", text)
    assert not re.search(r"<script(?![^>]*src=)| on\w+=| style=", text)
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        found = asked(app, f"/{name}")
        assert found.status == 200
        assert not re.search(rb"innerHTML|outerHTML|insertAdjacent|eval\(|document\.write|@import|url\(", found.body)


@pytest.mark.parametrize("path", ["", "/style.css", "/state"])
def test_it_is_mounted_anywhere_by_either_meaning_of_a_path(shop: str, path: str) -> None:
    app = Observer(shop)
    for given in (f"/tools/observer{path}", path):
        answer = asked(app, given, root="/tools/observer")
        assert answer.status == (200 if path else 307)
    assert path or asked(app, "/tools/observer", root="/tools/observer").headers["location"] == "observer/"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/state", {}, 200),
        ("/state", {"sec_fetch_site": "same-origin"}, 200),
        ("/state", {"sec_fetch_site": "none"}, 200),
        ("/state", {"sec_fetch_site": "same-site"}, 403),
        ("/state", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 403),
        ("/events", {"sec_fetch_site": "cross-site"}, 403),
        ("/state", {"origin": "http://evil.example"}, 403),
        ("/state", {"origin": "null"}, 403),
        ("/state", {"origin": "http://localhost:8000"}, 200),
        ("/state", {"origin": "https://localhost:8000"}, 403),
        ("/", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
        ("/app.js", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ("/state", {"host": "evil.example"}, 403),
        ("/", {"host": "evil.example"}, 403),
        ("/state", {"method": "POST"}, 405),
        ("/nothing", {}, 404),
        ("/../state", {}, 404),
    ],
)
def test_what_another_page_sends_is_refused(shop: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = asked(Observer(shop, hosts=["LOCALHOST:8000"]), path, **headers)
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers
    if status != 200:
        assert b"till" not in answer.body


@pytest.mark.parametrize(
    ("client", "host", "status"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("::1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example:8000", 403),
        ("::1", "evil.example", 403),
        ("::ffff:127.0.0.1", "localhost.evil.example", 403),
        ("127.0.0.1", "", 403),
        ("192.0.2.7", "ops.example.com", 200),
        (None, "ops.example.com", 200),  # a Unix socket
    ],
)
def test_over_loopback_a_name_that_was_rebound_is_refused(
    shop: str, client: str | None, host: str, status: int
) -> None:
    answer = asked(Observer(shop), "/state", client=client, host=host)
    assert answer.status == status
    assert (b"Observer(hosts=[...])" in answer.body) == (status == 403)
    if host:
        assert asked(Observer(shop, hosts=[host]), "/state", client=client, host=host).status == 200


@pytest.mark.parametrize("server", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_over_loopback_a_client_that_a_header_names_changes_nothing(shop: str, server: str) -> None:
    options = {
        "client": "192.0.2.7",
        "server": server,
        "x_forwarded_for": "192.0.2.7",
    }  # as uvicorn's proxy headers make it
    assert asked(Observer(shop), "/state", host="evil.example:8000", **options).status == 403
    assert asked(Observer(shop), "/state", host="localhost:8000", **options).status == 200
    assert asked(Observer(shop, hosts=["ops.example.com"]), "/state", host="ops.example.com", **options).status == 200


def test_two_hosts_are_none(shop: str) -> None:
    scope = scope_of("/state")
    scope["headers"].append((b"host", b"evil.example"))
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Observer(shop, hosts=["localhost:8000"])(scope, asyncio.Event().wait, send))
    assert sent[0]["status"] == 403


def test_bad_arguments_are_refused_before_anything_is_shown() -> None:
    for arguments in ({}, {"most_pages": 0}, {"hosts": ["http://localhost:8000/"]}, {"hosts": [""]}):
        with pytest.raises(ValueError, match="expected"):
            Observer(*(["x"] if arguments else []), **arguments)
    for server, arguments in (
        (3, {}),
        ("x", {"hosts": "localhost"}),
        ("x", {"hosts": [b"localhost"]}),
        ("x", {"most_pages": "1"}),
        ("x", {"exception_texts": "no"}),
        ("x", {"parts": managers()}),
        ("x", {"parts": [object()]}),
    ):
        with pytest.raises(TypeError, match="expected"):
            Observer(server, **arguments)


def test_a_part_that_was_not_called_is_told_so() -> None:
    with pytest.raises(TypeError, match="call it, and give what it returns"):
        Observer("x", parts=[managers])


# --- the stream -------------------------------------------------------------------------------------------------------


def row(told: Any, label: str) -> Any:
    return next((one for one in told.get("rows", {}).values() if one["label"] == label), None)


def test_a_killed_actor_is_told_of_and_nothing_is_told_twice(shop: str) -> None:
    async def play() -> None:
        async with reading(Observer(shop)) as reader:
            name, first = await reader.told()
            assert name == "snapshot"
            assert [one["label"] for one in first["rows"].values()] == ["shop", "till", "shelf"]
            assert first["totals"]["actors"] == 3
            kill("till")
            told = await reader.until(lambda data: (row(data, "till") or {}).get("restarts") == 1)
            assert row(told, "till")["exit"] == "KILLED"
            assert row(told, "shelf") is None  # nothing has happened to it

    asyncio.run(play())


def test_the_timeline_says_why(shop: str) -> None:
    async def play() -> None:
        async with reading(Observer(shop)) as reader:
            await reader.told()
            kill("till")
            events: list[tuple[str, str, str]] = []
            while ("child_restarted", "till", "restart 1") not in events:
                _, data = await reader.told()
                events += [(one["event"], one["who"], one["what"]) for one in data.get("events", ())]
            assert ("child_ended", "till", "KILLED, starts again") in events

    asyncio.run(play())


def test_one_thread_looks_for_all_pages_and_only_while_there_is_one(shop: str) -> None:
    app = Observer(shop)
    assert not threads()

    async def play() -> None:
        async with reading(app) as one, reading(app, "search=till") as other:
            await one.told()
            _, found = await other.told()
            assert [row["label"] for row in found["rows"].values()] == ["till"]
            assert found["found"] == 1
            assert threads() == ["supervision-observer"]

    asyncio.run(play())
    eventually(lambda: not threads(), "the thread's end")
    assert asked(app, "/state").status == 200
    assert not threads()


def test_too_many_pages_are_refused_and_a_closed_one_makes_room(shop: str) -> None:
    app = Observer(shop, most_pages=1)

    async def play() -> None:
        async with reading(app) as first:
            await first.told()
            async with reading(app) as second:
                refused = await second.message()
                assert refused["status"] == 503
                assert (b"retry-after", b"5") in refused["headers"]
        async with reading(app) as third:
            assert (await third.told())[0] == "snapshot"

    asyncio.run(play())


def test_a_slow_reader_has_one_message_kept_for_it_and_then_the_differences(shop: str) -> None:
    async def play() -> None:
        app = Observer(shop)
        async with reading(app) as slow, reading(app) as quick:
            await slow.told()
            await quick.told()
            slow.may_read.clear()
            for number in (1, 2, 3):
                kill("till")
                await quick.until(lambda data, number=number: (row(data, "till") or {}).get("restarts") == number)
            slow.may_read.set()
            told = [await slow.told()]
            while (row(told[-1][1], "till") or {}).get("restarts") != 3:
                told.append(await slow.told())
            assert len(told) <= 3  # what it was being sent, what lay in its box, and the rest in one

    asyncio.run(play())


def test_a_reader_that_reads_nothing_loses_its_place(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "UNREAD_S", 0.05)

    async def play() -> None:
        app = Observer(shop, most_pages=1)
        async with reading(app) as stuck:
            await stuck.told()
            stuck.may_read.clear()
            kill("till")
            await asyncio.wait_for(stuck.task, DEADLINE_S)
        async with reading(app) as next_one:
            assert (await next_one.told())[0] == "snapshot"

    asyncio.run(play())


@pytest.mark.parametrize("how", ["close", "lifespan"])
def test_streams_end_when_the_program_or_the_server_ends(shop: str, how: str) -> None:
    async def play() -> None:
        app = Observer(shop)
        async with reading(app) as reader:
            await reader.told()
            if how == "close":
                app.close()
            else:
                messages = iter(["startup", "shutdown"])
                sent: list[str] = []

                async def receive() -> dict[str, str]:
                    return {"type": f"lifespan.{next(messages)}"}

                async def send(message: dict[str, str]) -> None:
                    sent.append(message["type"])

                await app({"type": "lifespan"}, receive, send)
                assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
            await asyncio.wait_for(reader.task, DEADLINE_S)
            assert threads() == [] or eventually(lambda: not threads(), "the thread's end") is None

    asyncio.run(play())


def test_a_part_that_raises_ends_the_stream_and_is_logged(shop: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        columns = loggers = ()

        def figures(self, _name: Any, _ref: Any) -> None:
            raise RuntimeError("a part's fault")

        def summary(self, _name: Any, _ref: Any) -> None:
            return None

        def event(self, _event: str, _fields: Any) -> None:
            return None

    async def play() -> None:
        async with reading(Observer(shop, parts=[Broken()])) as reader:
            await asyncio.wait_for(reader.task, DEADLINE_S)

    asyncio.run(play())
    assert "look_failed" in caplog.text


def test_the_files_are_the_packages_own() -> None:
    there = {one.name for one in (files("supervision.observer") / "page").iterdir()}
    assert there == {file for file, _ in application._FILES.values()}


def test_a_dead_tree_is_shown_as_one(shop: str) -> None:
    app = Observer(shop)
    Supervisor.stop(shop)
    assert whereis(shop) is None
    (only,) = asked(app, "/state").json()["rows"].values()
    assert (only["label"], only["state"]) == ("shop", "stopped")
    Supervisor.start_link([], name="shop")
    (only,) = asked(app, "/state").json()["rows"].values()
    assert only["state"] == "running"
