"""Secrets that cannot be printed, and where they come from: a text, a callable, or a file that may change.

`Sealed` is the root of every value that holds a secret. Files are read without ever waiting for one: a pipe, a device or a file
without an end is refused instead.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import gc
import hashlib
import hmac
import inspect
import os
import stat
import sys
import traceback
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, ClassVar, NoReturn, ParamSpec, Self, TypeAlias, TypeVar

from oidc_actor.values.errors import ConfigError, SecretUnavailable
from supervision.frozen import dataclass

P = ParamSpec("P")
R = TypeVar("R")

MAX_SECRET_BYTES = 64 * 1024
"""The longest secret that is read from a file, in bytes."""

BYTE_ORDER_MARK = "\ufeff"

_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's little-endian one begins with UTF-16's


def holds_secrets(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function whose frame, or a frame below it, holds a secret: no exception that leaves it shows one.

    A program that logs an exception may show the local variables of each frame in its traceback (structlog and rich do), and
    those of the exceptions in its ``__cause__`` and ``__context__``. An exception that leaves this function therefore keeps its
    traceback, which still says where it was raised, but the frames in it have no variables any more; and it keeps no cause and
    no context, whose arguments may quote a secret. What the caller was handling when it called stays the context.

    For plain functions and methods, not for generators and coroutines: their frames are not over when the call returns.

    Args:
        function: The function.

    Returns:
        A function that does the same.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        handled = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            # The traceback begins with this frame, which still runs and is not cleared below: its secrets go first.
            del args, kwargs
            _forget_secrets(error, handled)
            # Where this very error was being handled, its traceback, which has this frame, would refer to it in a circle.
            del handled
            raise

    return guarded


def _forget_secrets(error: BaseException, handled: BaseException | None) -> None:
    # Frames below the decorated function's have ended and are cleared. Those that still run are left alone: the frame that
    # raises now, and where the error was raised before and is raised anew, those of callers.
    _clear_frames(error)
    if error is handled:  # it was raised anew, and what it came of is the caller's
        return
    behind = [error.__cause__, error.__context__, *_members(error)]
    error.__cause__, error.__context__, error.__suppress_context__ = None, handled, False
    seen = {id(error), id(handled)}
    while behind:
        one = behind.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            _clear_frames(one)  # what is referred to from elsewhere shows nothing, either
            behind += [one.__cause__, one.__context__, *_members(one)]
            one.__cause__ = one.__context__ = None


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _clear_frames(error: BaseException) -> None:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    suspended = _suspended([frame for frame in frames if frame.f_code.co_flags & _GOES_ON])
    for frame in frames:
        if frame not in suspended:
            with contextlib.suppress(RuntimeError):  # it still runs
                frame.clear()


_GOES_ON = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _suspended(frames: list[types.FrameType]) -> set[types.FrameType | None]:
    """Those that are of a generator or coroutine that goes on later.

    An error that a program keeps, and raises in more places than one, may have passed through such a frame before. It is the
    program's own. To clear it would close the generator, and end a task that waits, up to Python 3.12; later versions refuse.
    """
    if sys.version_info >= (3, 13) or not frames:
        return set()
    # Nothing leads from a frame to its generator, but while that lives it refers to the frame. Slow, so once for all, and rare.
    found: set[types.FrameType | None] = set()
    for one in gc.get_referrers(*frames):
        if isinstance(one, types.GeneratorType):
            found.add(one.gi_frame)
        elif isinstance(one, types.CoroutineType):
            found.add(one.cr_frame)
        elif isinstance(one, types.AsyncGeneratorType):
            found.add(one.ag_frame)
    return found


class Sealed:
    """A value that is frozen, copies to itself and refuses pickling.

    A subclass sets its fields with `put`, and writes a ``__repr__`` that shows no secret. One with a secret's text in a field
    lists its fields in ``__slots__`` and is no dataclass, because ``dataclasses.asdict`` would write them out. One whose
    fields are themselves sealed may be a dataclass.
    """

    __slots__ = ()

    @holds_secrets
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    def __reduce__(self) -> NoReturn:
        refuse_pickling(self)

    def __getstate__(self) -> NoReturn:
        refuse_pickling(self)

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)


def put(value: object, /, **fields: object) -> None:
    """Set fields of a frozen object under construction.

    Args:
        value: The object, not yet seen by anyone else.
        **fields: What to set.
    """
    for name, content in fields.items():
        object.__setattr__(value, name, content)


def refuse_pickling(value: object) -> NoReturn:
    """Raise the error that every value with a secret gives to pickle.

    Args:
        value: The object to be pickled.

    Raises:
        TypeError: Always.
    """
    name = type(value).__name__
    raise TypeError(
        f"cannot pickle {name!r}: it holds secrets; pass the secret's source instead and build it anew there"
    )


class FrozenMapping(Sealed, Mapping[str, str]):
    """An immutable, hashable mapping of texts."""

    __slots__ = ("_items",)
    _items: dict[str, str]

    def __init__(self, items: Mapping[str, str]) -> None:
        object.__setattr__(self, "_items", dict(items))

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __reduce_ex__(self, protocol: object) -> Any:
        return type(self), (dict(self._items),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"


class Secret(Sealed):
    """A text without a printable form. It compares by value, can be hashed, and refuses pickling."""

    __slots__ = ("_text",)
    _text: str

    @holds_secrets
    def __init__(self, text: str) -> None:
        """Wrap a secret text.

        Args:
            text: The secret; not empty.

        Raises:
            ConfigError: Where it is no text, is empty, or cannot be written in UTF-8. The message does not show it.
        """
        problem = secret_problem(text)
        if problem is not None:
            raise ConfigError(f"expected a secret as non-empty text, got {problem}")
        put(self, _text=text)

    def reveal(self) -> str:
        """Return the text. Only code that writes a request needs it; keep the result out of local variables."""
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(***)"


class SecretSource:
    """Where a secret is fetched from anew for every request: `SecretFile`, and those in `oidc_actor.secret_sources`."""

    __slots__ = ()
    fits: ClassVar[tuple[str, ...] | None] = None
    """The options that it may be given as; ``None`` for all."""

    def fetch(self) -> Secret | str:
        """Fetch the secret, or say in a phrase why it cannot be had now; raises nothing. Runs on the request's thread."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """The files whose change makes another attempt worth while."""
        return ()

    @property
    def assertion_type(self) -> str:
        """How it is called as ``client_assertion``: the end of a client assertion type's name (RFC 7521 section 4.2)."""
        return "jwt-bearer"

    @property
    def managers(self) -> tuple[Hashable, ...]:
        """The refs and names of the managers whose new tokens make another attempt worth while."""
        return ()


@dataclass(frozen=True, slots=True, init=False)
class SecretFile(SecretSource):
    """A secret kept in a file that others may replace while this process runs (a mounted secret, for instance).

    The file is read at every request, never at construction, so it may appear later.

    Attributes:
        path: Where the file is. Its content is UTF-8; a byte order mark before it and one newline after it are no
            part of the secret.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        """Name the file.

        Args:
            path: Where the file is.

        Raises:
            ConfigError: Where that is no path.
        """
        named: object = path
        if not isinstance(named, (str, Path)) or not str(named):
            raise ConfigError(
                f"expected the path of a file as str or Path, got {named!r}", ("path",), label="SecretFile"
            )
        object.__setattr__(self, "path", Path(path))

    def read(self) -> Secret:
        """Read the secret.

        Returns:
            The secret as it is now.

        Raises:
            SecretUnavailable: Where the file is missing, unreadable, empty, too long, or not UTF-8 text. Retryable.
        """
        return resolve_secret(self)

    def version(self) -> tuple[int, int, int] | None:
        """Return a cheap value that differs once the file has changed, or ``None`` while it cannot be found."""
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """The file itself."""
        return (self,)

    def fetch(self) -> Secret | str:
        """Read the secret, or say in a phrase why it cannot be had now; raises nothing."""
        content = read_file(self.path, MAX_SECRET_BYTES)
        found = content if isinstance(content, str) else _secret_of_file(content)
        return found if isinstance(found, Secret) else f"{str(self.path)!r}: {found}"


class SecretCall(Sealed, SecretSource):
    """A callable that returns a secret, without the callable's own ``repr``, which may show its arguments."""

    __slots__ = ("_function",)
    _function: Callable[[], str | Secret]

    def __init__(self, function: Callable[[], str | Secret]) -> None:
        put(self, _function=function)

    def fetch(self) -> Secret | str:
        """Call the function."""
        try:
            found = self._function()
        except Exception as error:  # noqa: BLE001 - the user's code: what it raises fails this attempt only
            return f"its callable raised {type(error).__name__}"
        if isinstance(found, Secret):
            return found
        problem = secret_problem(found)
        return Secret(found) if problem is None else f"its callable returned {problem}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretCall):
            return NotImplemented
        return self._function == other._function

    def __hash__(self) -> int:
        try:
            return hash((SecretCall, self._function))
        except TypeError:  # a callable object that compares by value and cannot be hashed
            return hash((SecretCall, type(self._function)))

    def __repr__(self) -> str:
        return "SecretCall(***)"


GivenSecret: TypeAlias = str | Secret | Callable[[], str | Secret] | SecretSource
"""A secret as an option gives it: the text itself, a callable that is called once for each request, or a `SecretSource`."""

StoredSecret: TypeAlias = Secret | SecretSource
"""A secret's source as credentials keep it: nothing in it can be printed."""


@holds_secrets
def store_secret(source: object, name: str) -> StoredSecret:
    """Bring a secret's source into the form that credentials keep. Reads and calls nothing.

    Args:
        source: A `GivenSecret`.
        name: What the secret is, for the error's message.

    Returns:
        The source, with texts and callables wrapped.

    Raises:
        ConfigError: Where it is none of the forms.
    """
    if isinstance(source, SecretSource) and source.fits is not None and name not in source.fits:
        kind = type(source).__name__
        raise ConfigError(f"{kind} is for {', '.join(source.fits)} only; give one secret here", (name,))
    if isinstance(source, (Secret, SecretSource)):
        return source
    if inspect.iscoroutinefunction(source):
        raise ConfigError("expected a plain function, got a coroutine function; read the secret without await", (name,))
    if callable(source):
        return SecretCall(source)
    problem = secret_problem(source)
    if problem is not None:
        raise ConfigError(f"expected a non-empty text, a callable or SecretFile(path), got {problem}", (name,))
    return Secret(str(source))


def fingerprint(text: str) -> str:
    """Return a short one-way name for a token, for correlating log lines.

    Args:
        text: A text with enough randomness that a third of a hash gives nothing away: a token, not a password.

    Returns:
        The first 8 hexadecimal digits of its SHA-256.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def secret_problem(text: object) -> str | None:
    """Say what is wrong with a secret's text, without showing it.

    Args:
        text: The candidate.

    Returns:
        A phrase such as ``"empty text"``, or ``None`` where nothing is wrong.
    """
    if not isinstance(text, str):
        return type(text).__name__
    if not text:
        return "empty text"
    if text.startswith(BYTE_ORDER_MARK):
        return "text that begins with a byte order mark; read it with encoding='utf-8-sig'"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "text that cannot be written in UTF-8"
    return None


def has_space_at_an_end(secret: Secret) -> bool:
    """Tell whether a secret begins or ends with white space, which is sent, and is seldom meant."""
    return secret.reveal() != secret.reveal().strip()


@holds_secrets
def resolve_secret(source: StoredSecret, name: str = "secret") -> Secret:
    """Read a secret for one request.

    Args:
        source: Where it comes from. A callable runs on the calling thread and is not interrupted.
        name: What the secret is, for the error's message.

    Returns:
        The secret as it is now.

    Raises:
        SecretUnavailable: Where it cannot be had now. Retryable; the message never shows what a callable raised,
            only its type, because such texts hold secrets.
    """
    found = source if isinstance(source, Secret) else source.fetch()
    if isinstance(found, str):
        raise SecretUnavailable(f"{name} cannot be read: {found}", option=name, sent=False)
    return found


def _secret_of_file(content: bytes) -> Secret | str:
    if content.startswith(_OTHER_MARKS) or b"\0" in content:
        return "UTF-16 or UTF-32 text, or none; save it as UTF-8"
    try:
        # Some editors begin a file with a mark, which is no part of its text (RFC 3629, 6).
        text = content.removeprefix(codecs.BOM_UTF8).decode()  # the codec for both would be imported here, on a thread
    except UnicodeDecodeError:
        return "not UTF-8 text"
    if text.endswith("\n"):
        text = text.removesuffix("\n").removesuffix("\r")
    return Secret(text) if text else "the file is empty"


# --- files ------------------------------------------------------------------------------------------------------------

NOT_REGULAR = "expected a regular file"


def read_file(path: Path, most: int) -> bytes | str:
    """Read a regular file as a whole, or say in a phrase why that cannot be had; raises nothing and never waits for a writer.

    Args:
        path: The file; a link is followed.
        most: The most bytes that it may have.
    """
    problem = no_file(path, most)  # before it is opened: to open a device may do something
    if problem is not None:
        return problem
    try:
        # Where a pipe has taken its place meanwhile, an open without O_NONBLOCK would wait for the pipe's writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(number, "rb", closefd=True) as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                return NOT_REGULAR
            content = file.read(most + 1)
    except OSError as error:
        return error.strerror or type(error).__name__
    return content if len(content) <= most else _too_long(most)


def no_file(path: Path, most: int) -> str | None:
    """Say why a file cannot be read, as far as can be told without opening it; ``None`` where nothing is known against it.

    Args:
        path: The file; a link is followed.
        most: The most bytes that it may have.
    """
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:  # a name with a null character
        return type(error).__name__
    if not stat.S_ISREG(found.st_mode):
        return NOT_REGULAR
    return _too_long(most) if found.st_size > most else None


def _too_long(most: int) -> str:
    return f"longer than {most} bytes"
