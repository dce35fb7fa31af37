"""A ``Server`` has no event loop: a class with an asynchronous hook is refused when it is defined."""

import functools
import types
from typing import Any

import pytest
from actors import Pooled

from supervision import DynamicSupervisor, Server, Supervisor, call
from supervision.server import HOOKS

every_hook = pytest.mark.parametrize("hook", HOOKS)


async def coroutine(self: Any, *_: Any) -> None: ...


async def generator(self: Any, *_: Any) -> Any:
    yield


def plain_generator(self: Any, *_: Any) -> Any:
    yield


class Called:
    async def __call__(self, *_: Any) -> None: ...


ASYNC: dict[str, Any] = {
    "coroutine": coroutine,
    "generator": generator,
    "partial": functools.partial(coroutine, None),
    "static": staticmethod(coroutine),
    "class": classmethod(coroutine),
    "object": Called(),
    "method of another": Called().__call__,
    "partial of a method": functools.partialmethod(coroutine, 1),
    "partial of a partial": functools.partialmethod(functools.partial(generator, None)),
    "static partial": staticmethod(functools.partial(coroutine)),
    "cached": functools.cache(coroutine),
    "by type": functools.singledispatchmethod(coroutine),
    "made a coroutine": types.coroutine(plain_generator),
}
every_async = pytest.mark.parametrize("function", ASYNC.values(), ids=ASYNC.keys())


@every_hook
@every_async
@pytest.mark.parametrize("base", [Server, Pooled, Supervisor, DynamicSupervisor])
def test_it_is_refused_with_what_to_do(base: Any, hook: str, function: Any) -> None:
    with pytest.raises(TypeError, match=rf"^Worker\.{hook}: expected a plain function.*write `def {hook}`"):
        type("Worker", (base,), {hook: function})


@every_hook
@every_async
def test_also_where_it_is_mixed_in(hook: str, function: Any) -> None:
    mixin = type("Mixin", (), {hook: function})
    with pytest.raises(TypeError, match=hook):
        type("Worker", (mixin, Server), {})
    type("Worker", (Pooled, mixin), {hook: Pooled.on_receive})  # which another hides


@every_hook
def test_also_where_it_was_put_on_a_class_after_its_definition(hook: str) -> None:
    parent = type("Late", (Server,), {})
    setattr(parent, hook, coroutine)
    with pytest.raises(TypeError, match=hook):
        type("Worker", (parent,), {})


@every_hook
def test_one_that_wraps_an_asynchronous_one_is_a_plain_function(hook: str) -> None:
    @functools.wraps(coroutine)
    def runs_it(self: Any, *args: Any) -> None: ...

    type("Worker", (Server,), {hook: runs_it})


class ByType:
    @functools.singledispatchmethod
    def on_receive(self, message: Any) -> Any: ...

    @on_receive.register
    async def _(self, message: str) -> Any: ...


def test_one_of_several_by_type_is_enough() -> None:
    with pytest.raises(TypeError, match="on_receive"):
        type("Worker", (ByType, Server), {})


@every_hook
def test_plain_ones_of_the_same_forms_are_taken(hook: str) -> None:
    def plain(self: Any, *_: Any) -> None: ...

    forms = (
        functools.partialmethod(plain),
        functools.cache(plain),
        functools.singledispatchmethod(plain),
        staticmethod(plain),
    )
    for form in forms:
        type("Worker", (Server,), {hook: form})


def test_other_methods_may_be_asynchronous() -> None:
    class Worker(Server):
        def on_receive(self, message: Any) -> Any:
            return message

        @classmethod
        async def acall(cls, ref: Any) -> None: ...

    assert call(Worker.start_link(), 1) == 1
