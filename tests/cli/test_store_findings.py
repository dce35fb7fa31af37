"""What `check --store` concludes: each finding by what was seen."""

from __future__ import annotations

import pytest

from oidc_actor.cli import store_findings as judge
from oidc_actor.cli.store_findings import DirectoryFacts


@pytest.mark.parametrize(
    ("policy", "most", "is_login", "result"),
    [
        ("noeviction", 0, True, "pass"),
        ("allkeys-lru", 100, False, "warn"),
        ("allkeys-lru", 100, True, "fail"),
        ("volatile-ttl", 100, False, "warn"),
        ("volatile-ttl", 100, True, "fail"),
        (None, None, True, "skip"),
    ],
)
def test_eviction(policy: str | None, most: int | None, is_login: bool, result: str) -> None:
    found = judge.judge_eviction(policy, most, is_login=is_login)
    assert (found.check, found.result) == ("store eviction", result)
    assert (found.fix is not None) == (result in ("warn", "fail"))
    assert "no bound now" in judge.judge_eviction("allkeys-lru", 0, is_login=False).found


@pytest.mark.parametrize(
    ("aof", "save", "is_login", "result"),
    [
        (True, "", True, "pass"),
        (True, None, True, "pass"),
        (False, "", False, "pass"),
        (False, "", True, "warn"),
        (False, "3600 1", True, "warn"),
        (None, None, True, "skip"),
        (False, None, True, "skip"),
    ],
)
def test_persistence(aof: bool | None, save: str | None, is_login: bool, result: str) -> None:
    found = judge.judge_persistence(aof, save, is_login=is_login)
    assert (found.check, found.result) == ("store disk", result)
    assert (found.fix is not None) == (result == "warn")


@pytest.mark.parametrize(
    ("ahead_s", "uncertain_s", "result"), [(0.1, 0.0, "pass"), (-4.9, 0.0, "pass"), (7.0, 3.0, "pass"), (60, 1, "warn")]
)
def test_clock(ahead_s: float, uncertain_s: float, result: str) -> None:
    assert judge.judge_clock(ahead_s, uncertain_s).result == result


def test_a_clock_that_is_off_says_which_way() -> None:
    assert judge.judge_clock(60, 0).found == "the store's clock is 60 s ahead of this machine's"
    assert judge.judge_clock(-60, 0).found == "the store's clock is 60 s behind this machine's"


def test_a_slow_round_trip() -> None:
    assert judge.judge_trip(0.002).result == "pass"
    slow = judge.judge_trip(0.25)
    assert slow.result == "warn"
    assert slow.found.startswith("250.0 ms")


def facts(**changes: object) -> DirectoryFacts:
    given = {"path": "/d", "mode": 0o700, "owner": 7, "user": 7, "is_sealed": False, "may_write": True}
    return DirectoryFacts(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "result", "fix"),
    [
        ({}, "pass", None),
        ({"mode": 0o750}, "fail", "chmod 0700 /d"),
        ({"mode": 0o750, "is_sealed": True}, "pass", None),
        ({"mode": 0o777, "is_sealed": True}, "fail", "chmod 0770 /d"),
        ({"owner": 0}, "fail", "chown 7 /d"),
        ({"owner": 0, "mode": 0o770, "is_sealed": True}, "pass", None),
        ({"mode": 0o500, "may_write": False}, "fail", "chmod 0700 /d"),
    ],
)
def test_a_directory(changes: dict[str, object], result: str, fix: str | None) -> None:
    found = judge.judge_directory(facts(**changes))
    assert found.result == result
    assert found.fix is None if fix is None else fix in (found.fix or "")


@pytest.mark.parametrize(
    ("kind", "is_login", "result"),
    [
        ("ext4", True, "pass"),
        ("nfs4", False, "fail"),
        ("tmpfs", False, "pass"),
        ("tmpfs", True, "warn"),
        ("overlay", True, "warn"),
        (None, True, "skip"),
    ],
)
def test_a_file_system(kind: str | None, is_login: bool, result: str) -> None:
    assert judge.judge_file_system(kind, is_login=is_login).result == result


def test_locks_that_keep_nobody_out() -> None:
    assert judge.judge_locks(True).result == "pass"
    assert judge.judge_locks(False).result == "fail"


@pytest.mark.parametrize(
    ("gen", "opened_by", "count", "left_s", "is_login", "result", "said"),
    [
        (0, None, 1, None, False, "pass", "no record yet"),
        (5, None, 1, None, False, "skip", "its token has ended"),
        (5, 1, 2, 60.0, False, "pass", "key 1 of 2 opens it; its token lives 60 s more"),
        (5, 2, 2, 60.0, False, "pass", "key 2 of 2 opens it"),
        (5, 0, 0, 60.0, False, "pass", "it can be read"),
        (5, None, 1, 60.0, False, "warn", "take it for absent and overwrite it"),
        (5, None, 1, 60.0, True, "fail", "never get the login"),
    ],
)
def test_the_record(
    gen: int, opened_by: int | None, count: int, left_s: float | None, is_login: bool, result: str, said: str
) -> None:
    found = judge.judge_record(gen, opened_by, count, left_s, is_login=is_login)
    assert found.result == result
    assert said in found.found


def test_an_old_key_is_to_be_kept() -> None:
    assert "Keep key 2" in (judge.judge_record(5, 2, 2, 60.0, is_login=False).fix or "")


def test_an_error_is_shown_by_its_kind() -> None:
    text = "ResponseError: wrong number of arguments, with args: 'secret-of-the-caller'"
    assert judge.kind_of(text) == "an error"
    assert "secret-of-the-caller" not in judge.fix_of(text)
    denied = "ResponseError: DENIED Redis is running in protected mode because protected mode is enabled"
    assert judge.kind_of(denied) == "protected mode"
    assert "--requirepass" in judge.fix_of(denied)
    assert judge.kind_of("ConnectionError: Error 111 connecting to h:1. Connection refused.") == "Connection refused"
