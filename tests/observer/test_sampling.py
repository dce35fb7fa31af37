"""Which rows a page shows: folded pools, leafing, searching, bounds; and that nothing is told that has not changed."""

from __future__ import annotations

from typing import Any

import pytest

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor, cast, kill, monitor
from supervision.observer import Observer, sampling
from supervision.observer.figures import Figure, shown
from supervision.observer.sampling import Sampler, View


class Worker(Server):
    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


def look(*roots: Any, query: str = "", **options: Any) -> sampling.Look:
    return Sampler(roots, **options).look(View.read(query.encode()))


def labels(seen: sampling.Look) -> list[str]:
    return [row["label"] for row in seen.rows.values()]


def key_of(seen: sampling.Look, label: str) -> str:
    return next(key for key, row in seen.rows.items() if row["label"] == label)


def start_pool(count: int, name: str = "pool") -> None:
    DynamicSupervisor.start_link(name=name, max_restarts=10**6)
    for number in range(count):
        DynamicSupervisor.start_child(name, Worker.child_spec(name=f"{name} {number}"))


def test_a_pool_is_folded_counted_and_leafed_through() -> None:
    start_pool(120)
    folded = look("pool")
    (row,) = folded.rows.values()
    assert (row["children"], row["open"], row["below"]["running"]) == (120, False, 120)
    assert folded.totals["actors"] == 121
    key = key_of(folded, "pool")
    assert labels(look("pool", query=f"open={key}"))[1:] == [f"pool {number}" for number in range(50)]
    assert labels(look("pool", query=f"open={key}:100"))[1:] == [f"pool {number}" for number in range(100, 120)]
    beyond = look("pool", query=f"open={key}:99999999999999999999")
    assert beyond.rows[key]["first"] == 100
    for row in list(beyond.rows.values())[1:]:
        assert (row["parent"], row["level"]) == (key, 2)


def test_a_small_supervisor_is_open_until_somebody_closes_it() -> None:
    Supervisor.start_link([Worker.child_spec(name="one"), Worker.child_spec(name="two")], name="small")
    seen = look("small")
    assert labels(seen) == ["small", "one", "two"]
    closed = look("small", query=f"close={key_of(seen, 'small')}")
    assert labels(closed) == ["small"]
    assert closed.totals["actors"] == 3


def test_many_small_supervisors_are_open_as_far_as_a_page_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [
        Supervisor.child_spec([ChildSpec(number, Worker) for number in range(10)], id=f"group {group}")
        for group in range(40)
    ]
    Supervisor.start_link(groups, name="large")
    seen = look("large")
    assert len(seen.rows) <= sampling.BY_ITSELF + 50
    assert seen.totals["actors"] == 1 + 40 + 400
    monkeypatch.setattr(sampling, "MOST_ROWS", 30)
    cut = look("large")
    assert len(cut.rows) == 30
    assert cut.is_cut
    assert cut.totals["actors"] == 441


def test_a_search_finds_in_folded_pools_by_name_class_and_state() -> None:
    start_pool(150)
    Supervisor.start_link([Worker.child_spec(name="Pool attendant"), ChildSpec("mute", Server)], name="staff")
    found = look("pool", "staff", query="search=POOL+14")
    assert labels(found) == ["pool 14", *(f"pool {number}" for number in range(140, 150))]
    assert found.found == 11
    assert {row["path"] for row in found.rows.values()} == {"pool"}
    many = look("pool", "staff", query="search=worker")
    assert (many.found, len(many.rows)) == (151, sampling.MOST_FOUND)
    assert labels(look("pool", "staff", query="search=stopped")) == []
    Supervisor.terminate_child("staff", "mute")
    assert labels(look("pool", "staff", query="search=stopped")) == ["mute"]


@pytest.mark.parametrize("query", ["", "search=one"])
def test_what_has_not_changed_is_the_same_row(query: str) -> None:
    Supervisor.start_link([Worker.child_spec(name="one"), Worker.child_spec(name="one too")], name="still")
    sampler, view = Sampler(["still"]), View.read(query.encode())
    before = sampler.look(view).rows
    sampler.begin()
    after = sampler.look(view).rows
    assert before
    assert all(row is before[key] for key, row in after.items())
    kill("one")
    Supervisor.which_children("still")
    sampler.begin()
    changed = [row["label"] for key, row in sampler.look(view).rows.items() if row is not before[key]]
    assert changed[-1:] == ["one"]
    assert "one too" not in changed


def test_a_key_stays_over_a_restart_and_a_name_over_that_of_a_pools_member() -> None:
    start_pool(3)
    before = look("pool").rows
    kill("pool 1")
    DynamicSupervisor.which_children("pool")
    assert set(look("pool").rows) == set(before)


def test_looking_puts_nothing_into_a_mailbox_and_waits_for_nobody() -> None:
    import threading

    entered, go_on = threading.Event(), threading.Event()

    class Slow(Server):
        def on_start(self) -> None:
            entered.set()
            go_on.wait(10)

    slow = Supervisor.start_link([], name="busy")
    starting = threading.Thread(target=Supervisor.start_child, args=("busy", ChildSpec("slow", Slow)))
    starting.start()
    assert entered.wait(10)
    try:
        seen = look("busy")
        assert labels(seen) == ["busy"]
        assert slow.actor_inbox.qsize() == 0
    finally:
        go_on.set()
        starting.join(10)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_shown"),
    [
        ("plain", "plain"),
        (
            "<img src=x onerror=alert(1)>",
            "<img src=x onerror=alert(1)>",
        ),  # a text, which the page never takes for markup
        ("two\nlines\tand\r", "two lines and "),
        ("\u202ereversed\u200b", "\\u{202e}reversed\\u{200b}"),
        ("\ud800", "\\u{d800}"),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_text_is_short_and_moves_nothing(text: str, is_shown: str) -> None:
    assert shown(text) == is_shown


def test_ids_of_any_kind_are_shown() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        def __hash__(self) -> int:
            return 1

    specs = [ChildSpec(one, Worker) for one in (1, "1", ("a", 2), None, Odd(), "x\ny" * 10_000)]
    Supervisor.start_link(specs, name="odd")
    seen = look("odd")
    assert len(seen.rows) == 7  # 1 and "1" are two
    assert labels(seen)[1:6] == ["1", "1", "('a', 2)", "None", "<Odd>"]
    assert len(labels(seen)[6]) == 200


def test_an_exception_shows_its_type_and_its_text_only_where_that_is_wished() -> None:
    Supervisor.start_link([Worker.child_spec(name="leaky")], name="texts")
    app, open_app = Observer("texts"), Observer("texts", exception_texts=True)
    ended = monitor("leaky", down := _Down())
    cast("leaky", "hunter2")
    down.wait()
    del ended
    Supervisor.which_children("texts")
    for one, shows in ((app, False), (open_app, True)):
        body = one._pages.state(View()).decode()
        assert "Crash(ValueError)" in body
        assert ("hunter2" in body) is shows


class _Down:
    def __init__(self) -> None:
        import threading

        self._event = threading.Event()

    def __call__(self, _down: Any) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(10)


# --- views ------------------------------------------------------------------------------------------------------------


def test_a_view_is_bounded_whatever_a_query_holds() -> None:
    many = "&".join(f"open={number:012x}&close={number:012x}" for number in range(500))
    view = View.read(many.encode())
    assert len(view.opened) == len(view.closed) == sampling.MOST_KEYS
    assert View.read(b"open=abc:-1&open=def:x&open=%ff&=&&;;search=%00%ff").opened["abc"] == 0
    assert len(View.read(b"search=" + b"x" * 8000).search) == 100
    assert View.read(b"\xff\xfe") == View()


# --- parts ------------------------------------------------------------------------------------------------------------


class Tills:
    columns, loggers = ("till",), ()

    def __init__(self) -> None:
        self.left_s = 300.0

    def figures(self, name: str | None, _ref: Any) -> dict[str, Figure] | None:
        return {"till": Figure("open", self.left_s, 600.0, "good")} if name == "one" else None

    def summary(self, name: str | None, _ref: Any) -> list[Figure] | None:
        return [Figure("1 till")] if name == "tills" else None

    def event(self, _event: str, _fields: Any) -> None:
        return None


def test_a_parts_figures_are_told_as_instants_and_so_only_once() -> None:
    Supervisor.start_link([Worker.child_spec(name="one"), Worker.child_spec(name="other")], name="tills")
    tills = Tills()
    sampler = Sampler(["tills"], [tills])
    first = sampler.look(View()).rows
    key, row = next((key, row) for key, row in first.items() if row["label"] == "one")
    assert row["figures"]["till"].keys() == {"text", "ends", "of", "tone"}
    assert "figures" not in next(row for row in first.values() if row["label"] == "other")
    tills.left_s = 299.8  # a moment later
    sampler.begin()
    assert sampler.look(View()).rows[key] is row
    tills.left_s = 600.0  # renewed
    sampler.begin()
    assert sampler.look(View()).rows[key] is not row
    assert next(iter(first.values()))["below"]["parts"] == [{"text": "1 till"}]
