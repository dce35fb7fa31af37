"""The libraries that run coroutines, in the words that tests need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from oidc_actor import OIDCActorError
from supervision import SupervisionError


class Loop:
    """asyncio, trio or uvloop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.library: Any = pytest.importorskip(name)
        if name == "trio":
            pytest.importorskip("trio.testing")

    def run(self, function: Callable[[], Any]) -> Any:
        return self.library.run(function) if self.name == "trio" else self.library.run(function())

    async def together(self, *functions: Callable[[], Any]) -> list[Any]:
        """What each returns, or the type of what it raises; all run at the same time."""
        found: list[Any] = [None] * len(functions)

        async def one(number: int) -> None:
            try:
                found[number] = await functions[number]()
            except (SupervisionError, OIDCActorError) as error:
                found[number] = type(error)

        if self.name == "trio":
            async with self.library.open_nursery() as nursery:
                for number in range(len(functions)):
                    nursery.start_soon(one, number)
        else:
            await asyncio.gather(*(one(number) for number in range(len(functions))))
        return found

    async def cancelled(self, function: Callable[[], Any]) -> None:
        """Begin it, and cancel it once it waits."""
        if self.name == "trio":
            async with self.library.open_nursery() as nursery:
                nursery.start_soon(function)
                await self.library.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            return
        task = asyncio.ensure_future(function())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
