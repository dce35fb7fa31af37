"""Managers that use each other's tokens: in any order, and never in a circle."""

from __future__ import annotations

from pathlib import Path

from sidecar.tables import OTHER, URL, problems

from oidc_actor.sidecar.config import load


def using(**uses: str) -> str:
    tables = [
        f'[managers.{name}]\ngrant = "token_exchange"\n{URL}\nsubject_token = {{ manager = "{used}" }}'
        for name, used in uses.items()
    ]
    return "\n".join(['[server]\nunix_socket = "s"', *tables, OTHER])


def test_a_chain_in_any_order(read) -> None:
    assert read(using(a="b", b="other")).managers["a"].uses == {"b"}
    assert read(using(b="other", a="b")).managers["a"].uses == {"b"}


def test_every_circle_is_named_once(read) -> None:
    assert problems(read, using(a="a")) == [
        "managers.a.subject_token.manager: expected tokens that do not wait for each other, got a -> a; "
        "let one of them use another source"
    ]
    found = problems(read, using(c="d", d="c", z="x", x="y", y="z", tail="x", fine="other"))
    assert [one.partition(" got ")[2].partition(";")[0] for one in found] == ["c -> d -> c", "x -> y -> z -> x"]


def test_a_missing_one_is_named_even_where_more_is_wrong(read) -> None:
    found = problems(read, using(a="nobody", b="a").replace('client_id = "id"', 'client_id = ""'))
    assert [one.partition(": ")[0] for one in found] == ["managers.other.client_id", "managers.a.subject_token.manager"]


def test_the_token_of_whoever_serves(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(using(a="other"))
    source = load(path).managers["a"].options["auth"].subject_token
    assert source.fetch() == "there is no manager other"
    assert repr(source) == "ManagerToken('other', 'access_token')"
