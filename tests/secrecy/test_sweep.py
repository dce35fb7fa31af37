"""No object of any public class shows a secret, in whatever way it is shown; and no class is left out."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import logging
import pickle
import pkgutil
import pprint
import re
import sys
import traceback
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback
from secrecy.holders import HOLDS_NONE, MADE, VARIANTS
from secrecy.world import MARK, World, world

import oidc_actor
from oidc_actor.values.secrets import Sealed

pytestmark = pytest.mark.P9

NONE = {name: why for why, names in HOLDS_NONE.items() for name in names.split()}
ALL = MADE | VARIANTS
SHOWN = [
    name for name in ALL if name not in {f"adapters.authorization.{one}" for one in ("Authorization", "Part", "Proof")}
]
"""All but those that are the text itself, for a library to send."""


def public_classes() -> dict[str, type]:
    """Every class of ours without an underscore before its name; what only a type checker sees is none."""
    found = {}
    for module in pkgutil.walk_packages(oidc_actor.__path__, "oidc_actor."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            defined_here = inspect.isclass(value) and value.__module__ == module.name and not name.startswith("_")
            if defined_here and not (typing.is_typeddict(value) or getattr(value, "_is_protocol", False)):
                found[f"{module.name.removeprefix('oidc_actor.')}.{name}"] = value
    return found


CLASSES = public_classes()


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    with world() as made:
        yield made


def test_every_public_class_has_one_entry() -> None:
    missing, twice, unknown = (
        CLASSES.keys() - MADE.keys() - NONE.keys(),
        MADE.keys() & NONE.keys(),
        {*MADE, *NONE} - {*CLASSES},
    )
    assert not missing, (
        f"new public classes: enter an instance with secrets, or why it holds none, in secrecy.holders: {missing}"
    )
    assert not twice
    assert not unknown
    assert {
        f"{value.__module__}.{value.__name__}".removeprefix("oidc_actor.") for value in exported()
    } <= CLASSES.keys()


def exported() -> list[type]:
    """The classes among the names that the package exports."""
    return [value for name in oidc_actor.__all__ if inspect.isclass(value := getattr(oidc_actor, name))]


def is_plain(name: str) -> bool:
    """Whether it is a value of ours that is made as it is, with fields that say what they hold."""
    ours = not name.startswith(("testing.", "cli.demo."))
    return ours and dataclasses.is_dataclass(CLASSES.get(name)) and name != "credentials.credentials.Credentials"


@pytest.mark.parametrize("name", [name for name in NONE if is_plain(name)])
def test_what_is_said_to_hold_none_has_no_field_for_one(name: str) -> None:
    holders = {holder.rpartition(".")[2] for holder in MADE} | {"bytes", "object", "Any", "Sealed"}
    for field in dataclasses.fields(CLASSES[name]):
        words = set(re.findall(r"\w+", str(field.type)))
        public = {"RetryPolicy", "OIDCConfig"} | ({"bytes"} if name == "sidecar.asgi.RequestHeaders" else set())
        assert not words & (holders - public), f"{name}.{field.name}"


@pytest.mark.parametrize("name", MADE)
def test_the_instance_is_one_of_that_class(name: str, there: World) -> None:
    assert type(MADE[name](there)) is CLASSES[name]


def forms(value: Any) -> Iterator[str]:
    """What a program makes of a value that it shows; of a text that is to be sent, what a container of it looks like."""
    yield from (repr(value), ascii(value), repr([value]), repr({1: value}), pprint.pformat(value), pretty_repr(value))
    if not isinstance(value, str):
        yield from (str(value), f"{value}", json.dumps(value, default=repr))
    yield repr(getattr(value, "__dict__", ""))
    if dataclasses.is_dataclass(value):
        for dump in (dataclasses.asdict, dataclasses.astuple):
            with contextlib.suppress(TypeError):  # it holds a lock, which is not copied
                yield repr(dump(value))


@pytest.mark.parametrize("name", ALL)
def test_no_form_of_an_object_shows_a_secret(name: str, there: World) -> None:
    shown = [form for form in forms(ALL[name](there)) if MARK in form]
    assert not shown


@pytest.mark.parametrize("name", ALL)
def test_a_pickle_is_refused_or_shows_none(name: str, there: World) -> None:
    try:
        pickled = pickle.dumps(ALL[name](there))
    except Exception as error:
        shown = f"{error!r} {error}".encode()
    else:
        shown = pickled
    assert MARK.encode() not in shown


RENDERERS = [
    structlog.processors.JSONRenderer(),
    structlog.processors.KeyValueRenderer(),
    structlog.processors.LogfmtRenderer(),
    structlog.dev.ConsoleRenderer(colors=False),
    structlog.dev.ConsoleRenderer(
        colors=True, exception_formatter=structlog.dev.RichTracebackFormatter(show_locals=True)
    ),
]


@pytest.mark.parametrize("renderer", RENDERERS, ids=lambda renderer: type(renderer).__name__)
@pytest.mark.parametrize("name", SHOWN)
def test_no_renderer_of_structlog_shows_a_secret(renderer: Any, name: str, there: World) -> None:
    value = ALL[name](there)
    assert MARK not in renderer(None, "info", {"event": "x", "value": value, "values": [value]})


WITHOUT_RICH: dict[str, Any] = (
    {"use_rich": False}
    if "use_rich" in inspect.signature(structlog.tracebacks.ExceptionDictTransformer).parameters
    else {}
)
"""Of an argument that structlog's older releases do not have: they never use it."""


def tracebacks(value: Any) -> Iterator[str]:
    """What is shown of an error that passes through a frame with the value, by whatever shows local variables."""
    try:
        raise LookupError("something else")
    except LookupError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        yield "".join(told.format())
        console = Console(file=io.StringIO(), width=200)
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
        yield console.file.getvalue()  # type: ignore[attr-defined]
        event = {"event": "x", "exc_info": sys.exc_info()}
        yield repr(structlog.processors.dict_tracebacks(None, "error", dict(event)))
        yield str(structlog.processors.format_exc_info(None, "error", dict(event))["exception"])
        for limit in range(1, 60, 7):  # texts are cut before they are shown
            cutting = structlog.tracebacks.ExceptionDictTransformer(show_locals=True, locals_max_string=limit)
            yield repr(cutting((type(error), error, error.__traceback__)))
            cutting = structlog.tracebacks.ExceptionDictTransformer(
                show_locals=True, locals_max_string=limit, **WITHOUT_RICH
            )
            yield repr(cutting((type(error), error, error.__traceback__)))


@pytest.mark.parametrize("name", ALL)
def test_no_traceback_with_local_variables_shows_a_secret(name: str, there: World) -> None:
    value = ALL[name](there)
    shown = list(tracebacks(value))
    assert any("value" in one for one in shown)
    assert not [one for one in shown if MARK in one]


@pytest.mark.parametrize("name", SHOWN)
def test_no_log_record_shows_a_secret(name: str, there: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    value = ALL[name](there)
    logging.getLogger("x").info("%s %r %a", value, value, value, extra={"value": value})
    assert MARK not in caplog.text + repr(caplog.records[-1].__dict__)


def test_what_holds_a_secret_is_sealed_or_made_of_what_is(there: World) -> None:
    for name in ALL:
        value = ALL[name](there)
        parts = [value]
        if dataclasses.is_dataclass(value):
            parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        assert all(isinstance(one, Sealed) or MARK not in repr(one) for one in parts), name


def test_every_kind_of_error_is_raised_somewhere_with_secrets_at_hand(there: World) -> None:
    from oidc_actor.values.errors import OIDCActorError

    kinds = {name for name, value in CLASSES.items() if issubclass(value, OIDCActorError)}
    assert kinds - NONE.keys() <= MADE.keys()
    for name in kinds & MADE.keys():
        error = MADE[name](there)
        assert isinstance(error, OIDCActorError)
        assert error.__traceback__ is not None
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        ours = [frame.f_locals for frame in frames if frame.f_globals["__name__"].startswith("oidc_actor.")]
        assert ours
        assert MARK not in repr(ours)
