"""Secrets: no printable form, and sources that may change or fail."""

import copy
import os
import pickle
from dataclasses import FrozenInstanceError
from functools import partial

import pytest

from oidc_actor.credentials.grants import ClientCredentials
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import (
    MAX_SECRET_BYTES,
    Secret,
    SecretCall,
    SecretFile,
    fingerprint,
    resolve_secret,
    store_secret,
)

TEXT = "hunter2-päss"


def test_a_secret_reveals_itself_only_on_request():
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", repr([secret]), ascii(secret)]
    assert not any(TEXT in one or "hunter2" in one for one in shown)


def test_a_secret_compares_by_value():
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT
    assert hash(Secret(TEXT)) != hash(TEXT)


@pytest.mark.parametrize("value", [Secret(TEXT), SecretCall(lambda: TEXT)])
def test_a_secret_refuses_pickling_and_copies_to_itself(value):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds secrets"):
            pickle.dumps(value, protocol)
    with pytest.raises(TypeError):
        value.__getstate__()
    with pytest.raises(TypeError):
        value.__reduce__()
    assert copy.copy(value) is value
    assert copy.deepcopy(value) is value
    assert not hasattr(value, "__dict__")


def test_a_secret_cannot_be_changed():
    secret = Secret(TEXT)
    with pytest.raises(FrozenInstanceError):
        secret._text = "other"
    with pytest.raises(FrozenInstanceError):
        del secret._text
    assert secret.reveal() == TEXT


@pytest.mark.parametrize("text", ["", None, 5, b"bytes-secret", "half \ud800 pair"])
def test_what_is_no_secret(text):
    with pytest.raises(ConfigError, match="expected a secret as non-empty text") as caught:
        Secret(text)
    assert "bytes-secret" not in str(caught.value)


def test_a_fingerprint_is_short_and_stable():
    assert fingerprint("token") == fingerprint("token") == "3c469e9d"
    assert fingerprint("token") != fingerprint("tokem")
    assert len(fingerprint("\ud800")) == 8


def test_a_text_is_wrapped_and_a_callable_hidden():
    assert store_secret(TEXT, "password") == Secret(TEXT)
    assert store_secret(Secret(TEXT), "password") == Secret(TEXT)
    file = SecretFile("/run/secret")
    assert store_secret(file, "password") is file

    def read(text):
        return text

    call = store_secret(partial(read, TEXT), "password")
    assert call.fetch() == Secret(TEXT)
    assert "hunter2" not in repr(call)
    assert store_secret(read, "x") == store_secret(read, "x")
    assert hash(store_secret(read, "x")) == hash(store_secret(read, "x"))
    assert store_secret(read, "x") != store_secret(len, "x")
    assert store_secret(read, "x") != read


@pytest.mark.parametrize("source", [None, "", 5, b"bytes-secret", ["list"]])
def test_what_is_no_source(source):
    with pytest.raises(ConfigError, match="password: expected a non-empty text, a callable or SecretFile"):
        store_secret(source, "password")


def test_a_coroutine_function_is_no_source():
    async def read():
        return TEXT

    with pytest.raises(ConfigError, match="coroutine function"):
        store_secret(read, "password")


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"abc", "abc"),
        (b"abc\n", "abc"),
        (b"abc\r\n", "abc"),
        (b"abc\n\n", "abc\n"),
        (b"abc\r", "abc\r"),
        (b" abc \n", " abc "),
        (b"\nabc", "\nabc"),
        ("pä\n".encode(), "pä"),
        (b"x" * MAX_SECRET_BYTES, "x" * MAX_SECRET_BYTES),
    ],
)
def test_one_trailing_newline_is_not_part_of_a_file_s_secret(tmp_path, content, secret):
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert SecretFile(path).read() == Secret(secret)
    assert SecretFile(str(path)).read().reveal() == secret


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff\xfehunter2", "UTF-8"),
        (b"hunter2" * MAX_SECRET_BYTES, "longer than"),
    ],
)
def test_a_torn_or_wrong_file_is_a_failure_of_this_attempt(tmp_path, content, problem):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SecretUnavailable, match=problem) as caught:
        SecretFile(path).read()
    assert caught.value.retryable
    assert not caught.value.sent
    assert "hunter2" not in str(caught.value)


def test_a_file_may_be_missing_until_it_is_read(tmp_path):
    file = SecretFile(tmp_path / "later")
    assert file.version() is None
    with pytest.raises(SecretUnavailable, match="No such file") as caught:
        resolve_secret(file, "client_secret")
    assert "client_secret cannot be read" in str(caught.value)
    assert str(tmp_path / "later") in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    (tmp_path / "later").write_text("now")
    assert resolve_secret(file) == Secret("now")


@pytest.mark.parametrize("name", ["fifo", "directory", "nul\0name"])
def test_what_is_no_regular_file_never_blocks(tmp_path, name):
    path = tmp_path / name
    if name == "fifo":
        os.mkfifo(path)
    elif name == "directory":
        path.mkdir()
    with pytest.raises(SecretUnavailable):
        SecretFile(path).read()


def test_a_file_s_version_changes_with_it(tmp_path):
    path = tmp_path / "secret"
    path.write_text("one")
    file = SecretFile(path)
    before = file.version()
    assert file.version() == before
    replacement = tmp_path / "new"
    replacement.write_text("two")
    os.utime(replacement, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    replacement.replace(path)  # the same length and time, another file
    assert file.version() != before
    changed = file.version()
    os.utime(path, ns=(1, 1))
    assert file.version() != changed
    path.unlink()
    assert file.version() is None


def test_files_compare_by_path_and_say_it(tmp_path):
    assert SecretFile("/a") == SecretFile("/a")
    assert hash(SecretFile("/a")) == hash(SecretFile("/a"))
    assert SecretFile("/a") != SecretFile("/b")
    assert "/a" in repr(SecretFile("/a"))


@pytest.mark.parametrize("path", ["", None, 5, b"/bytes"])
def test_what_is_no_path(path):
    with pytest.raises(ConfigError, match="SecretFile: expected the path"):
        SecretFile(path)


def test_a_callable_is_called_once_for_each_request():
    calls = iter(["one", Secret("two")])
    source = store_secret(lambda: next(calls), "client_secret")
    assert resolve_secret(source) == Secret("one")
    assert resolve_secret(source) == Secret("two")


def fail():
    raise RuntimeError(f"the vault says {TEXT}")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (fail, "callable raised RuntimeError"),
        (lambda: None, "callable returned NoneType"),
        (lambda: "", "callable returned empty text"),
        (lambda: b"hunter2", "callable returned bytes"),
        (lambda: "half \ud800 hunter2", "UTF-8"),
    ],
)
def test_a_source_that_fails_is_retryable_and_quotes_nothing(source, problem):
    with pytest.raises(SecretUnavailable, match=problem) as caught:
        resolve_secret(SecretCall(source), "password")
    assert caught.value.retryable
    assert not caught.value.sent
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_file_s_secret(tmp_path, end):
    """RFC 3629 section 6; editors of Windows begin files with one."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbfhunter2" + end.encode())
    assert SecretFile(path).read() == Secret("hunter2")
    path.write_bytes(b"\xef\xbb\xbf")
    assert SecretFile(path).fetch() == f"{str(path)!r}: the file is empty"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_of_another_encoding_says_what_to_do(tmp_path, encoding):
    path = tmp_path / "secret"
    path.write_text("hunter2\n", encoding=encoding)
    assert SecretFile(path).fetch() == f"{str(path)!r}: UTF-16 or UTF-32 text, or none; save it as UTF-8"


def test_a_text_that_was_read_with_its_byte_order_mark_is_refused_by_name():
    with pytest.raises(ConfigError, match="begins with a byte order mark; read it with encoding='utf-8-sig'"):
        ClientCredentials("id", "\ufeffhunter2")
    with pytest.raises(SecretUnavailable, match="returned text that begins with a byte order mark"):
        resolve_secret(SecretCall(lambda: "\ufeffhunter2"))
