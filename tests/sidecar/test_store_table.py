"""The table ``[store]``: what a good one becomes, and that a bad one names every key that is wrong, and no secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sidecar.tables import FULL, problems

from oidc_actor import SecretFile, TokenManager
from oidc_actor.sharing import FileStore, RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sidecar.config import absent, load

SERVER = '[server]\nunix_socket = "s"\n'
REDIS = ('redis = "rediss://cache.internal:6379/0"', 'namespace = "prod-eu"', 'keys = [{ file = "key" }]')
DIRECTORY = ('directory = "tokens"', 'namespace = "prod-eu"')


def written(store: tuple[str, ...], *manager: str, more: str = "") -> str:
    return "\n".join([SERVER, "[store]", *store, "[managers.m]", *FULL, *manager, more])


def store_of(config, name: str = "m"):
    return config.managers[name].options.get("store")


def test_on_redis(read, tmp_path: Path) -> None:
    store = store_of(read(written((*REDIS, "wait_replicas = 1", "notify = true", "timeout_seconds = 0.3"))))
    assert isinstance(store, RedisStore)
    assert repr(store) == "RedisStore(rediss://cache.internal:6379, namespace='prod-eu')"
    assert store == RedisStore.from_url(
        "rediss://cache.internal:6379/0",
        namespace="prod-eu",
        keys=[SecretFile(tmp_path / "key")],
        wait_replicas=1,
        notify=True,
        timeout_seconds=0.3,
    )


def test_in_a_directory_with_and_without_keys(read, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir(mode=0o700)
    assert store_of(read(written(DIRECTORY))) == FileStore(tmp_path / "tokens", namespace="prod-eu")
    sealed = store_of(read(written((*DIRECTORY, 'keys = [{ file = "key" }]'))))
    assert sealed == FileStore(tmp_path / "tokens", namespace="prod-eu", keys=[SecretFile(tmp_path / "key")])


def test_a_directory_is_made_by_a_sidecar_and_not_by_a_check(read, tmp_path: Path) -> None:
    read(written(DIRECTORY))
    assert not (tmp_path / "tokens").exists()
    load(tmp_path / "config.toml", makes=True)
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o700


def test_equal_text_gives_equal_managers_and_another_store_does_not(read) -> None:
    first, again = read(written(REDIS)), read(written(REDIS))
    assert first == again
    rotated = read(written((*REDIS[:2], 'keys = [{ file = "new" }, { file = "key" }]')))
    assert first.managers["m"] != rotated.managers["m"]


def test_a_manager_opts_out_and_one_says_whose_token_it_is(read) -> None:
    more = '[managers.own]\nstore = false\nissuer_url = "https://a.example"\nclient_id = "id"\nclient_auth = "none"'
    config = read(written(REDIS, 'store_key = "alice"', more=more))
    assert store_of(config) is not None
    assert config.managers["m"].options["store_key"] == "alice"
    assert store_of(config, "own") is None
    for one in config.managers.values():
        TokenManager.child_spec(name=one.name, **one.options)


def test_an_address_with_a_password_is_in_a_file_or_the_environment(read, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("STORE_URL", "rediss://user:very-secret@cache.internal/0")
    config = read(written(('redis = { env = "STORE_URL" }', *REDIS[1:])))
    assert repr(store_of(config)) == "RedisStore(rediss://cache.internal:6379, namespace='prod-eu')"
    assert "very-secret" not in f"{config!r} {config.managers['m'].options}"
    text = written(('redis = { file = "url" }', *REDIS[1:]))
    assert store_of(read(text)) == store_of(read(text))
    assert any(line.startswith("  store.redis.file: cannot be read yet") for line in absent(tmp_path / "config.toml"))
    assert any(line.startswith("  store.keys[0].file: cannot be read yet") for line in absent(tmp_path / "config.toml"))


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        (REDIS[1:], 'store: expected redis = "rediss://<host>" or directory = "<path>", got neither'),
        ((*REDIS, 'directory = "d"'), 'store: expected redis = "rediss://<host>" or directory = "<path>", got both'),
        ((*REDIS, 'namespce = "x"'), "store.namespce: no such key; did you mean 'namespace'?"),
        ((REDIS[0], REDIS[2]), "store.namespace: missing"),
        ((REDIS[0], 'namespace = "Prod EU"', REDIS[2]), "store.namespace: expected 1 to 64 of lower-case letters"),
        (REDIS[:2], "store.keys: missing: expected a list such as [{ file ="),
        ((*REDIS[:2], "keys = []"), "store.keys: expected a list such as"),
        ((*REDIS[:2], 'keys = { file = "key" }'), "store.keys: expected a list such as"),
        ((*REDIS[:2], 'keys = ["very-secret"]'), "store.keys[0]: expected { file ="),
        (
            ('redis = "rediss://:very-secret@cache.internal"', *REDIS[1:]),
            "store.redis: expected an address without a password, got one with: a secret does not belong in this file",
        ),
        (
            ('redis = "redis://h?password=very-secret"', *REDIS[1:]),
            "store.redis: expected an address without a password",
        ),
        (('redis = "http://cache.internal"', *REDIS[1:]), "store.redis: expected an address that begins with redis://"),
        (("redis = 5", *REDIS[1:]), "store.redis: expected an address such as"),
        (('redis = { env = "ABSENT_URL" }', *REDIS[1:]), "store.redis.env: expected the secret in the environment"),
        ((*REDIS, "wait_replicas = -1"), "store.wait_replicas: expected a number of replicas, got -1"),
        ((*REDIS, "notify = 1"), "store.notify: expected True or False, got 1"),
        ((*REDIS, "timeout_seconds = 0"), "store.timeout_seconds: expected finite seconds above 0"),
        ((*DIRECTORY, "wait_replicas = 1"), "store.wait_replicas: belongs to redis, got directory; drop wait_replicas"),
        (("directory = 5", DIRECTORY[1]), "store.directory: expected a path, got 5"),
    ],
)
def test_one_problem(read, store: tuple[str, ...], problem: str) -> None:
    # The manager has a key, which is a mistake without any store: a store that is wrong is not taken for none.
    (found,) = problems(read, written(store, 'store_key = "alice"'))
    assert found.startswith(problem)
    assert "very-secret" not in found


def test_a_directory_that_others_may_open(read, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens").chmod(0o755)
    (problem,) = problems(read, written(DIRECTORY))
    assert problem.startswith("store.directory: expected a directory that only its owner may open")
    assert "chmod 0700 it" in problem


def test_a_key_of_the_environment_that_is_none(read, monkeypatch) -> None:
    monkeypatch.setenv("A_KEY", "very-secret")
    (problem,) = problems(read, written((*REDIS[:2], 'keys = [{ env = "A_KEY" }]')))
    assert problem.startswith("store.keys: expected 32 bytes in url-safe base64")
    assert "very-secret" not in problem
    monkeypatch.setenv("A_KEY", new_key())
    read(written((*REDIS[:2], 'keys = [{ env = "A_KEY" }]')))


def test_no_table(read) -> None:
    (problem,) = problems(read, "\n".join(["store = 5", SERVER, "[managers.m]", *FULL]))
    assert problem == "store: expected a table [store], got int"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (('store = "no"',), "managers.m.store: expected false for a manager that does not share the [store]"),
        (("store = true", "store_key = 5"), "managers.m.store_key: expected a non-empty text, got 5"),
        (("revoke_on_stop = true",), "managers.m.revoke_on_stop: expected False beside a store"),
        (("store = false", 'store_key = "a"'), "managers.m.store_key: expected a store beside it, got none"),
        (
            ('grant = "token_exchange"', 'subject_token = { file = "t" }'),
            "managers.m: expected a text that names whose token it is, got none",
        ),
    ],
)
def test_a_manager_that_cannot_share_as_it_says(read, lines: tuple[str, ...], problem: str) -> None:
    (found,) = problems(read, written(REDIS, *lines))
    assert found.startswith(problem)


def test_a_manager_cannot_share_a_store_that_is_not_there(read) -> None:
    text = "\n".join([SERVER, "[managers.m]", *FULL])
    (problem,) = problems(read, f"{text}\nstore = true")
    assert problem == "managers.m.store: expected a table [store] in this file, got none"
    assert store_of(read(f"{text}\nstore = false")) is None


def test_mistakes_in_the_store_and_in_the_managers_are_named_at_once(read) -> None:
    found = problems(read, written((*REDIS[1:], "wait_replicas = 0.5"), "revoke_on_stop = true"))
    assert {problem.split(": ")[0] for problem in found} == {
        "store",
        "store.wait_replicas",
        "managers.m.revoke_on_stop",
    }


def test_without_the_package_it_says_what_to_install(read, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    (problem,) = problems(read, written(REDIS))
    assert problem == "store: RedisStore needs the package redis: pip install 'oidc-actor[redis]'"


def test_a_token_file_cannot_take_the_place_of_a_key(read) -> None:
    (problem,) = problems(read, written(REDIS, 'token_file = "key"'))
    assert problem.startswith("managers.m.token_file: expected a file of its own, got store.keys[0].file")
