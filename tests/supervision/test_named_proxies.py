"""Proxies of a name: all that Pykka's own proxies do (its tests in ``tests/proxy/``), and the same after a restart."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock, Mock, NonCallableMock

import pykka
import pytest
from threads import DEADLINE_S, eventually

from supervision import ChildSpec, Server, Supervisor, monitor, named, stop, whereis


class Unmarked:
    inner = "unmarked"


@pykka.traversable
class Decorated:
    inner = "decorated"

    def twice(self, text: str) -> str:
        return text * 2


class Marked:
    pykka_traversable = True
    inner = "marked"

    def __init__(self) -> None:
        self.deeper = Decorated()


class MarkedWithSlots:
    __slots__ = ("inner", "pykka_traversable")

    def __init__(self) -> None:
        self.pykka_traversable = True
        self.inner = "marked with slots"


class BrokenEquality:
    def __eq__(self, other: object) -> bool:
        raise AssertionError("Pykka compares proxies with proxies only")

    __hash__ = None  # type: ignore[assignment]


class _Shop:
    """Everything that a proxy may be asked for."""

    numbers: queue.SimpleQueue[int]
    open = "always"
    _private = "secret"
    unmarked = Unmarked()
    by_function = pykka.traversable(Unmarked())
    decorated = Decorated()
    with_slots = MarkedWithSlots()
    broken = BrokenEquality()

    def __init__(self) -> None:
        super().__init__()
        self.number = self.numbers.get_nowait()
        self.price = 1
        self.marked = Marked()
        self.deferred: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._rw = "rw"

    @property
    def read_only(self) -> str:
        return "ro"

    @property
    def read_write(self) -> str:
        return self._rw

    @read_write.setter
    def read_write(self, value: str) -> None:
        self._rw = value

    @property
    def costly(self) -> None:
        raise LookupError("a property was read")

    @property
    def marked_by_property(self) -> Marked:
        return Marked()

    def hello(self, name: str, *, mark: str = "!") -> str:
        return f"hello {name}{mark}"

    def which(self) -> int:
        return self.number

    def put(self, value: Any) -> None:
        self.deferred.put(value)

    def fail(self) -> None:
        raise ValueError("ordered")

    def end(self) -> None:
        raise SystemExit

    def add(self, name: str) -> None:
        setattr(self, name, lambda: f"added as {name}")

    def remove(self, name: str) -> None:
        delattr(self, name)

    def hello_from_myself(self) -> Any:
        return self.actor_ref.proxy().hello("me")  # type: ignore[attr-defined]

    def myself(self) -> Any:
        return self


class Plain(_Shop, pykka.ThreadingActor):
    """An unmodified Pykka class."""


class Pooled(_Shop, Server):
    """A server."""

    crash_on_call_error = False


@pytest.fixture(params=[Plain, Pooled], ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    """A class whose incarnations are numbered from 1."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(1, 100):
        numbers.put(number)
    return type(request.param.__name__, (request.param,), {"numbers": numbers})


@pytest.fixture
def sup(cls: Any) -> Iterator[Any]:
    """A supervisor of one child, which is called and named ``shop``."""
    ref = Supervisor.start_link([ChildSpec("shop", cls, name="shop")], max_restarts=1_000)
    yield ref
    Supervisor.stop(ref)


@pytest.fixture
def shop(sup: Any) -> Any:
    return named("shop").proxy()


def restart(sup: Any, name: str = "shop") -> None:
    """Have the child end, and its supervisor start another."""
    down = threading.Event()
    monitor(named(name), lambda _: down.set())
    stop(named(name))
    assert down.wait(DEADLINE_S)
    assert Supervisor.count_children(sup).active == len(Supervisor.which_children(sup))


def shut(sup: Any) -> None:
    """No actor has the name from here on."""
    Supervisor.terminate_child(sup, "shop")


def get(future: Any) -> Any:
    return future.get(timeout=DEADLINE_S)


# --- what Pykka's proxies do ------------------------------------------------------------------------------------------


def test_it_is_pykkas(shop: Any) -> None:
    assert isinstance(shop, pykka.ActorProxy)
    assert isinstance(shop.hello, pykka.CallableProxy)
    assert isinstance(shop.marked, pykka.ActorProxy)
    assert isinstance(shop.price, pykka.Future)
    assert shop.actor_ref == named("shop")


def test_attributes_are_read_and_set(shop: Any) -> None:
    assert (get(shop.open), get(shop.price)) == ("always", 1)
    shop.price = 2
    assert get(shop.price) == 2
    assert (get(shop.read_only), get(shop.read_write)) == ("ro", "rw")
    shop.read_write = "new"
    assert get(shop.read_write) == "new"
    with pytest.raises(AttributeError):
        shop.read_only = "no"
    shop.marked.inner = "set"
    assert get(shop.marked.inner) == "set"


@pytest.mark.parametrize("name", ["_private", "missing", "__len__"])
def test_what_is_private_or_missing_is_an_attribute_error(shop: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=f"^<ActorProxy for (Plain|Pooled) \\(urn.*> has no attribute '{name}'$"):
        getattr(shop, name)
    assert not hasattr(shop, name)
    assert getattr(shop, name, "default") == "default"


def test_a_property_is_read_only_where_it_is_asked_for(shop: Any) -> None:
    with pytest.raises(LookupError):
        get(shop.costly)


def test_methods_are_called(shop: Any) -> None:
    assert get(shop.hello("world")) == "hello world!"
    assert get(shop.hello("world", mark="?")) == "hello world?"
    assert pykka.get_all([shop.hello("a"), shop.hello("b")], timeout=DEADLINE_S) == ["hello a!", "hello b!"]
    assert shop.hello is shop.hello


def test_methods_are_deferred(shop: Any) -> None:
    assert shop.put.defer("a") is None
    shop.put.defer("b")
    handled = get(shop.deferred)
    assert [handled.get(timeout=DEADLINE_S) for _ in range(2)] == ["a", "b"]


def test_an_exception_comes_with_the_future(shop: Any) -> None:
    with pytest.raises(ValueError, match="ordered"):
        get(shop.fail())
    assert get(shop.which()) == 1


def test_an_exception_of_a_deferred_call_is_a_crash(sup: Any, shop: Any) -> None:
    down = threading.Event()
    monitor(named("shop"), lambda _: down.set())
    shop.fail.defer()
    assert down.wait(DEADLINE_S)
    assert Supervisor.count_children(sup).active == 1
    assert get(shop.which()) == 2


def test_methods_that_are_added_or_taken_away_later(shop: Any) -> None:
    get(shop.add("sell"))
    assert get(shop.sell()) == "added as sell"
    get(shop.remove("sell"))
    with pytest.raises(AttributeError):
        get(shop.sell())


def test_an_actor_may_have_a_proxy_of_itself(shop: Any) -> None:
    assert get(get(shop.hello_from_myself())) == "hello me!"


def test_a_public_proxy_of_the_actor_itself_is_not_shown(cls: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Mirror(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.plain = self.actor_ref.proxy()
            self.by_name = named("mirror").proxy()

    sup = Supervisor.start_link([ChildSpec("mirror", Mirror, name="mirror")])
    with caplog.at_level(logging.WARNING, "pykka"):
        mirror: Any = named("mirror").proxy()
        assert get(mirror.which()) == 1
        for name in ("plain", "by_name"):
            assert (
                f"attribute '{name}' is a proxy to itself. Consider making it private by renaming it to '_{name}'."
                in (caplog.text)
            )
            with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
                getattr(mirror, name)
    Supervisor.stop(sup)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("by_function", "unmarked"),
        ("decorated", "decorated"),
        ("marked", "marked"),
        ("with_slots", "marked with slots"),
    ],
)
def test_traversable_attributes(shop: Any, name: str, inner: str) -> None:
    assert get(getattr(shop, name).inner) == inner
    assert getattr(shop, name) is getattr(shop, name)


def test_traversable_attributes_of_traversable_ones(shop: Any) -> None:
    assert get(shop.marked.deeper.inner) == "decorated"
    assert get(shop.marked.deeper.twice("ab")) == "abab"
    assert get(shop.marked.pykka_traversable) is True
    with pytest.raises(AttributeError, match="attr_path=\\('marked', 'deeper'\\)> has no attribute 'none'"):
        shop.marked.deeper.none


def test_what_is_not_traversable(shop: Any) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'inner'"):
        shop.unmarked.inner
    assert get(shop.marked_by_property).inner == "marked"


def test_dir(shop: Any) -> None:
    listed = dir(shop)
    assert {"open", "price", "hello", "marked", "broken", "actor_ref"} <= set(listed)
    assert {"__class__", "__dict__", "__getattr__", "__setattr__"} <= set(listed)
    assert not {"_private", "inner"} & set(listed)
    assert listed == sorted(listed)
    assert {"inner", "deeper"} <= set(dir(shop.marked))
    assert not {"hello", "twice"} & set(dir(shop.marked))


def test_two_of_one_name_are_equal(shop: Any) -> None:
    other: Any = named("shop").proxy()
    assert shop == other
    assert hash(shop) == hash(other)
    assert shop.marked == other.marked
    assert len({shop, other, shop.marked, other.marked, named("kiosk").proxy()}) == 3
    assert shop != shop.marked
    assert shop not in (named("kiosk").proxy(), whereis("shop").proxy(), named("shop"), "shop")  # type: ignore[union-attr]


def test_how_it_is_shown(shop: Any) -> None:
    assert repr(shop) == str(shop) == f"<ActorProxy for {named('shop')}, attr_path=()>"
    assert repr(shop.marked) == f"<ActorProxy for {named('shop')}, attr_path=('marked',)>"
    assert repr(named("kiosk").proxy()) == "<ActorProxy for 'kiosk', attr_path=()>"


def test_mocks_behave_as_with_pykkas(cls: Any, sup: Any) -> None:
    cls.hello = MagicMock(return_value="mocked")
    read = NonCallableMock()
    read.__get__ = Mock(return_value="read")  # type: ignore[attr-defined]
    cls.read_write = read
    called = Mock()
    called.__get__ = Mock(return_value="read")
    cls.read_only = called
    proxy: Any = named("shop").proxy()
    assert get(proxy.hello()) == "mocked"
    assert cls.hello.call_count == 1
    assert get(proxy.read_write) == "read"
    with pytest.raises(AttributeError, match="'CallableProxy' object has no attribute 'get'"):
        proxy.read_only.get()


def test_stop_by_proxy(sup: Any, shop: Any) -> None:
    down = threading.Event()
    monitor(named("shop"), lambda _: down.set())
    assert get(shop.stop()) is None
    assert down.wait(DEADLINE_S)
    assert Supervisor.count_children(sup).active == 1
    assert get(shop.which()) == 2


def test_it_can_be_awaited(shop: Any) -> None:
    import asyncio

    async def ask() -> Any:
        return await shop.hello("loop"), await shop.price

    assert asyncio.run(ask()) == ("hello loop!", 1)


# --- after a restart --------------------------------------------------------------------------------------------------


def test_everything_that_is_kept_follows(sup: Any, shop: Any) -> None:
    which, marked, deeper, twice, put = shop.which, shop.marked, shop.marked.deeper, shop.marked.deeper.twice, shop.put
    for number in range(1, 5):
        assert get(shop.which()) == get(which()) == get(shop.number) == number
        assert get(marked.inner) == "marked"
        assert get(marked.deeper.inner) == get(deeper.inner) == "decorated"
        assert get(twice("a")) == "aa"
        put.defer(number)
        assert get(shop.deferred).get(timeout=DEADLINE_S) == number
        shop.price = number
        assert get(shop.price) == number
        assert pykka.get_all([which(), shop.price], timeout=DEADLINE_S) == [number, number]
        restart(sup)
        assert get(shop.price) == 1


def test_it_is_made_before_there_is_an_actor(cls: Any) -> None:
    shop: Any = named("shop").proxy()
    for use in (lambda: shop.hello, lambda: shop.marked, lambda: setattr(shop, "price", 1)):
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            use()
    assert "hello" not in dir(shop)
    sup = Supervisor.start_link([ChildSpec("shop", cls, name="shop")])
    assert get(shop.hello("a")) == "hello a!"
    assert "hello" in dir(shop)
    Supervisor.stop(sup)


def test_without_an_actor_it_is_as_pykkas_whose_actor_has_died(sup: Any, shop: Any) -> None:
    which, marked, price = shop.which, shop.marked, shop.price
    assert get(price) == 1
    shut(sup)
    for future in (
        shop.which(),
        which(),
        shop.price,
        marked.inner,
        marked.deeper.twice("a"),
        shop.hello("a"),
        shop.stop(),
    ):
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            get(future)
    with pytest.raises(pykka.ActorDeadError):
        shop.put.defer(1)
    with pytest.raises(pykka.ActorDeadError):
        shop.price = 2
    with pytest.raises(pykka.ActorDeadError):
        shop.missing
    assert {"hello", "marked", "price"} <= set(dir(shop))
    assert {"inner", "deeper"} <= set(dir(marked))
    Supervisor.restart_child(sup, "shop")
    assert get(which()) == 2
    with pytest.raises(AttributeError):
        shop.missing


def test_a_successor_of_another_class_is_looked_at_anew() -> None:
    class Old(pykka.ThreadingActor):
        def changes(self) -> str:
            return "method"

        def goes(self) -> str:
            return "here"

        stays = pykka.traversable(Unmarked())

    class New(pykka.ThreadingActor):
        changes = "attribute"
        stays = Unmarked()

        def comes(self) -> str:
            return "here"

    classes = iter([Old, New])
    sup = Supervisor.start_link([ChildSpec("shop", lambda: next(classes).start(), name="shop")])
    shop: Any = named("shop").proxy()
    stays = shop.stays
    assert (get(shop.changes()), get(shop.goes()), get(stays.inner)) == ("method", "here", "unmarked")
    restart(sup)
    assert (get(shop.changes), get(shop.comes())) == ("attribute", "here")
    for gone in (lambda: shop.goes, lambda: stays.inner):
        with pytest.raises(AttributeError):
            gone()
    assert "goes" not in dir(shop)
    Supervisor.stop(sup)


def test_while_a_successor_is_starting_the_last_incarnation_answers(cls: Any) -> None:
    """What ``on_start`` has still to set is no missing attribute."""
    starting, go = queue.SimpleQueue[None](), queue.SimpleQueue[None]()

    class Slow(cls):  # type: ignore[misc]
        def on_start(self) -> None:
            starting.put(None)
            go.get(timeout=DEADLINE_S)
            self.stock = Marked()

    shop: Any = named("shop").proxy()
    go.put(None)
    sup = Supervisor.start_link([ChildSpec("shop", Slow, name="shop")])
    starting.get(timeout=DEADLINE_S)
    assert get(shop.stock.inner) == "marked"
    stock = shop.stock
    ended = threading.Event()
    monitor(named("shop"), lambda _: ended.set())
    shop.end.defer()
    assert ended.wait(DEADLINE_S)
    starting.get(timeout=DEADLINE_S)
    first, second = shop.stock.inner, stock.inner
    with pytest.raises(pykka.ActorDeadError, match="is starting, and has no attribute 'missing' yet"):
        shop.missing
    assert not hasattr(shop, "pykka_traversable")
    go.put(None)
    assert get(first) == get(second) == "marked"
    with pytest.raises(AttributeError):
        shop.missing
    Supervisor.stop(sup)


# --- held by an actor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_up", [True, False])
def test_its_owners_own_proxy_works(sup: Any, cls: Any, is_up: bool) -> None:
    if not is_up:
        shut(sup)
    proxy = named("shop").proxy()

    class Owner(pykka.ThreadingActor):
        shop: Any = proxy

        def greet(self) -> Any:
            return self.shop.hello("owner").get(timeout=DEADLINE_S)

    with pytest.raises(AttributeError):
        proxy.pykka_traversable
    owner: Any = Owner.start().proxy()
    assert get(owner.shop) is proxy
    if not is_up:
        with pytest.raises(pykka.ActorDeadError):
            get(owner.greet())
        Supervisor.restart_child(sup, "shop")
    assert get(owner.greet()) == "hello owner!"


def test_two_actors_hold_one_another(cls: Any) -> None:
    class Left(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.other: Any = named("right").proxy()

        def ask_other(self) -> Any:
            return self.other.which()

    class Right(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.other: Any = named("left").proxy()

        def ask_other(self) -> Any:
            return self.other.which()

    sup = Supervisor.start_link([ChildSpec("left", Left, name="left"), ChildSpec("right", Right, name="right")])
    for left, right in ((1, 2), (3, 2)):
        for name, number in (("left", right), ("right", left)):
            for proxy in (named(name).proxy(), whereis(name).proxy()):  # type: ignore[union-attr]
                assert get(get(proxy.ask_other())) == number
                assert get(proxy.other) == named("right" if name == "left" else "left").proxy()
        if left == 1:
            restart(sup, "left")
    Supervisor.stop(sup)


# --- as a value -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_follows_too(sup: Any, shop: Any, copied: Any) -> None:
    proxy, marked, which = copied(shop), copied(shop.marked), copied(shop.which)
    assert (proxy, marked) == (shop, shop.marked)
    assert (get(proxy.which()), get(which()), get(marked.inner)) == (1, 1, "marked")
    restart(sup)
    assert (get(proxy.which()), get(which()), get(marked.inner)) == (2, 2, "marked")


def test_it_keeps_no_incarnation(sup: Any, shop: Any) -> None:
    kept = [shop, shop.which, shop.marked, shop.marked.deeper, shop.marked.deeper.twice]
    assert get(shop.which()) == 1
    errors = []
    for name in ("missing", "_private"):
        with pytest.raises(AttributeError) as caught:
            getattr(shop, name)
        errors.append(caught.value)
    first = [weakref.ref(get(shop.myself())), weakref.ref(whereis("shop"))]
    shut(sup)

    def is_gone() -> bool:
        gc.collect()
        return first[0]() is None

    eventually(is_gone, "the end of the first incarnation")
    Supervisor.restart_child(sup, "shop")
    assert get(kept[1]()) == 2
    eventually(lambda: gc.collect() is not None and first[1]() is None, "the end of its ref")


def test_what_it_knows_of_attributes_does_not_pile_up(sup: Any, shop: Any) -> None:
    for number in range(20):
        get(shop.add(f"method_{number}"))
        assert get(getattr(shop, f"method_{number}")()) == f"added as method_{number}"
        restart(sup)
    assert get(shop.which()) == 21
    assert not [name for name in dir(shop) if name.startswith("method_")]
    shut(sup)
    assert not [name for name in dir(shop) if name.startswith("method_")]
