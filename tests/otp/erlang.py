"""Erlang/OTP and Elixir as a process that plays scenarios: a long-lived VM, several scenarios at a time."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PLAYER = Path(__file__).with_name("player.exs")
AT_A_TIME = 8
ANSWER_S = 120.0


def missing() -> str | None:
    """What is not installed here; ``None`` where all is."""
    absent = [command for command in ("erl", "elixir") if shutil.which(command) is None]
    return f"not installed: {', '.join(absent)} (Debian: apt-get install erlang-base elixir)" if absent else None


class Erlang:
    """The VM; a context manager. ``play`` may be called again and again, on one thread."""

    def __enter__(self) -> Erlang:
        # One scheduler thread: see player.exs.
        environment = {**os.environ, "ELIXIR_ERL_OPTIONS": "+S 1:1", "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            ["elixir", str(PLAYER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answered = threading.Condition()  # guards the traces, and whether there will be more
        self._traces: dict[int, Any] = {}
        self._is_over = False
        self._numbers = itertools.count()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        with self._process:  # which closes the pipes
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(ANSWER_S)
            finally:
                self._process.kill()
                self._reader.join(ANSWER_S)

    def play(self, scenarios: Iterable[Any]) -> Iterator[Any]:
        """Their traces, in order. The VM plays some that come later while the caller looks at one."""
        left, asked = iter(scenarios), deque[int]()
        try:
            while True:
                asked += [self._ask(scenario) for scenario in itertools.islice(left, AT_A_TIME - len(asked))]
                if not asked:
                    return
                yield self._answer(asked.popleft())
        finally:
            for number in asked:
                self._answer(number)

    def _ask(self, scenario: Any) -> int:
        stdin, number = self._process.stdin, next(self._numbers)
        assert stdin is not None
        stdin.write(f"{number}\t{term(scenario)}.\n")
        stdin.flush()
        return number

    def _answer(self, number: int) -> Any:
        with self._answered:
            self._answered.wait_for(lambda: number in self._traces or self._is_over, ANSWER_S)
            if number not in self._traces:
                raise RuntimeError(f"the Erlang VM gave no trace of scenario {number}; exit {self._process.poll()}")
            return self._traces.pop(number)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, _, trace = line.partition("\t")
            with self._answered:
                self._traces[int(number)] = json.loads(trace)
                self._answered.notify_all()
        with self._answered:
            self._is_over = True
            self._answered.notify_all()


def term(value: Any) -> str:
    """What JSON can say as an Erlang term; texts are binaries, and ``None`` is ``nil``."""
    if isinstance(value, dict):
        return "#{" + ",".join(f"{term(key)}=>{term(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(term, value))}]"
    if isinstance(value, str):
        return f'<<"{value}">>'
    return (
        {None: "nil", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )
