"""Spans of token requests: what they say, whom they are linked to, and that they cost no token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import UNREACHABLE, failing, minted, refused
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from pages import section
from threads import DEADLINE_S, eventually, run

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.manager.log import trace
from oidc_actor.metrics.spans import ATTRIBUTES, MOST_LINKS, SPAN, record_spans
from oidc_actor.reading.cell import by_name
from oidc_actor.reading.waiters import ThreadWaiter


class Recorded:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = record_spans(self.provider)

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("program")

    def of(self, name: str = SPAN) -> list[ReadableSpan]:
        return [one for one in self.exporter.get_finished_spans() if one.name == name]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    yield made
    made.spans.close()
    made.provider.shutdown()


def test_a_span_says_whose_request_it_was_and_how_it_ended(recorded: Recorded, start: Any, transport: Any) -> None:
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    (span,) = recorded.of()
    assert dict(span.attributes or {}) == {
        "oidc_actor.manager": "m",
        "oidc_actor.issuer": transport.issuer,
        "oidc_actor.flight": 1,
        "oidc_actor.grant_type": "client_credentials",
        "oidc_actor.outcome": "success",
        "oidc_actor.waiting": span.attributes["oidc_actor.waiting"],  # type: ignore[index]
    }
    assert (span.kind, span.parent, span.status.status_code) == (SpanKind.CLIENT, None, StatusCode.UNSET)
    assert "t1" not in span.to_json()


def test_it_is_linked_to_the_span_of_each_that_waits(recorded: Recorded, start: Any, transport: Any) -> None:
    def read() -> None:
        with recorded.tracer.start_as_current_span("thread"):
            assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"

    async def read_all() -> None:
        with recorded.tracer.start_as_current_span("task"):
            await asyncio.gather(*(TokenManager.aget_token("m", timeout=DEADLINE_S) for _ in range(MOST_LINKS + 1)))

    def let_go() -> None:
        eventually(lambda: len(by_name["m"].waiting) == MOST_LINKS + 3, "those that wait")
        transport._open.set()

    with transport.held_back():
        start(name="m")
        with run(read, read, lambda: asyncio.run(read_all()), let_go):
            pass
    (span,) = recorded.of()
    callers = [*recorded.of("thread"), *recorded.of("task")]
    assert len(callers) == 3
    assert {one.context.span_id for one in span.links} == {one.context.span_id for one in callers}
    assert span.attributes is not None
    assert span.attributes["oidc_actor.waiting"] == MOST_LINKS + 3


def test_what_is_recorded_during_the_request_is_its_child(recorded: Recorded, start: Any, transport: Any) -> None:
    def answer(_: Any) -> Any:
        with recorded.tracer.start_as_current_span("http"):
            return minted("t1")

    transport.then(answer)
    start(name="m")
    TokenManager.get_token("m")
    (child,), (span,) = recorded.of("http"), recorded.of()
    assert child.parent is not None
    assert child.parent.span_id == span.context.span_id


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failing(503), {"error.type": "503", "http.response.status_code": 503, "oidc_actor.outcome": "unavailable"}),
        (
            refused("invalid_client", 401, "a-client-secret is wrong"),
            {"error.type": "401", "oidc_actor.oauth_error": "invalid_client", "oidc_actor.outcome": "refused"},
        ),
        (refused("a code of their own"), {"error.type": "400", "oidc_actor.oauth_error": "(other)"}),
        (UNREACHABLE, {"error.type": "TokenRequestError", "oidc_actor.outcome": "unavailable"}),
    ],
)
def test_a_failure_is_told_in_few_values(
    recorded: Recorded, start: Any, transport: Any, answer: Any, expected: dict[str, Any]
) -> None:
    transport.then(answer)
    start(name="m")
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m", timeout=0.05)
    eventually(recorded.of, "the span")
    span = recorded.of()[0]
    assert span.status.status_code is StatusCode.ERROR
    assert expected.items() <= dict(span.attributes or {}).items()
    assert set(span.attributes or {}) <= set(ATTRIBUTES)
    assert "wrong" not in span.to_json()
    assert "their own" not in span.to_json()


def test_the_page_names_each_attribute() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", section("oidc_actor/metrics/README.md", "Spans"), flags=re.MULTILINE)
    named = re.findall(r"`([^`]+)`", " ".join(rows))
    assert [one for one in named if one != SPAN] == list(ATTRIBUTES)


def test_a_secret_that_cannot_be_read_has_a_span_too(recorded: Recorded, start: Any) -> None:
    def secret() -> str:
        raise OSError("the vault is shut")

    start(name="m", auth=ClientCredentials("id", secret))
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m", timeout=0.05)
    eventually(recorded.of, "the span")
    assert (recorded.of()[0].attributes or {})["error.type"] == "SecretUnavailable"


def test_after_close_nothing_is_recorded_and_no_reader_is_looked_at(start: Any) -> None:
    first, second = Recorded(), Recorded()
    first.spans.close()
    assert ThreadWaiter(1.0, 0.0, wants_refresh=False).caller is not None
    second.spans.close()
    assert ThreadWaiter(1.0, 0.0, wants_refresh=False).caller is None
    start(name="m")
    TokenManager.get_token("m")
    assert first.of() == second.of() == []


@pytest.mark.P5
def test_a_tracer_that_raises_costs_no_token(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> Any:
        raise SystemExit

    ends = [trace(fail), trace(lambda begun: fail)]
    try:
        start(name="m")
        assert TokenManager.get_access_token("m") == "t1"
        assert sum("listener_failed" in one.message for one in caplog.records) == 2
    finally:
        for end in ends:
            end()
