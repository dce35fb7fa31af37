"""OpenTelemetry spans of token requests: ``record_spans()`` once in a process. Needs the extra ``otel``.

A request is made on a thread of this package's own, for all that wait for its token. So its span has no parent; it has a link to
the span of each reader that waits. What the HTTP library's own instrumentation records of the request is its child.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oidc_actor.machine.failure_policy import code_of, status_of
from oidc_actor.manager.log import BegunRequest, EndedRequest, outcome_of, trace
from oidc_actor.metrics.readings import OTHER, Bound
from oidc_actor.protocol.error_response import KNOWN_CODES
from oidc_actor.reading.waiters import note_callers
from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.lazy_imports import not_installed

try:
    from opentelemetry import context
    from opentelemetry.trace import (
        SpanContext,
        SpanKind,
        StatusCode,
        TracerProvider,
        get_current_span,
        get_tracer,
        set_span_in_context,
    )
except ModuleNotFoundError as missing:
    raise not_installed("oidc_actor.metrics.spans", "otel", missing) from None

__all__ = ["Spans", "record_spans"]
__dir__ = __all__.copy

SPAN: Final = "oidc_actor.token.request"

ATTRIBUTES: Final = (
    "oidc_actor.manager", "oidc_actor.issuer", "oidc_actor.flight", "oidc_actor.grant_type", "oidc_actor.outcome",
    "oidc_actor.waiting", "error.type", "http.response.status_code", "oidc_actor.oauth_error",
)  # fmt: skip
"""All that a span may have."""

MOST_LINKS: Final = 32
"""Readers that a span is linked to, at most; the others are counted."""

_recording: dict[object, None] = {}  # the objects that record; each change is one operation


def record_spans(
    tracer_provider: TracerProvider | None = None, *, max_managers: int = 1000, max_issuers: int = 100
) -> Spans:
    """Begin to record a span for each token request.

    Args:
        tracer_provider: Where to; ``None`` for the global one.
        max_managers: How many managers are told apart; the others are all called ``(other)``.
        max_issuers: How many issuers are told apart.

    Returns:
        An object whose ``close()`` ends it.
    """
    return Spans(tracer_provider, max_managers, max_issuers)


class Spans:
    """The spans of one tracer provider, from `record_spans`."""

    def __init__(self, tracer_provider: TracerProvider | None, max_managers: int, max_issuers: int) -> None:
        self._tracer = get_tracer("oidc_actor", tracer_provider=tracer_provider)
        self._manager, self._issuer = Bound(max_managers), Bound(max_issuers)
        _recording[self] = None
        note_callers(_caller_now)
        self._end = trace(self._begin)

    def close(self) -> None:
        """Record nothing more; a request that is under way still ends its span. Idempotent."""
        self._end()
        _recording.pop(self, None)
        if not _recording:
            note_callers(None)

    def _begin(self, begun: BegunRequest) -> Callable[[EndedRequest], None]:
        """On the worker's thread, whose current span is this one until the request has ended."""
        span = self._tracer.start_span(
            SPAN,
            kind=SpanKind.CLIENT,
            attributes={
                "oidc_actor.manager": self._manager(begun.manager),
                "oidc_actor.issuer": self._issuer(begun.issuer),
                "oidc_actor.flight": begun.attempt,
                "oidc_actor.grant_type": begun.grant,
            },
        )
        token = context.attach(set_span_in_context(span))

        def end(ended: EndedRequest) -> None:
            context.detach(token)
            span.set_attribute("oidc_actor.outcome", outcome_of(ended.result))
            span.set_attribute("oidc_actor.waiting", len(ended.callers))
            spans = [one for one in ended.callers if isinstance(one, SpanContext) and one.is_valid]
            linked = {(one.trace_id, one.span_id): one for one in spans}  # tasks of one span may wait together
            for caller in list(linked.values())[:MOST_LINKS]:
                span.add_link(caller)
            if isinstance(ended.result, OIDCActorError):
                for name, value in _failure(ended.result).items():
                    span.set_attribute(name, value)
                span.set_status(StatusCode.ERROR)
            span.end()

        return end


def _caller_now() -> object:
    """The span of a reader that begins to wait; one that is not recorded counts, too."""
    return get_current_span().get_span_context()


def _failure(error: OIDCActorError) -> dict[str, str | int]:
    """What is known of a failure, in few values: the provider's own words are not among them."""
    status, code = status_of(error), code_of(error)
    found: dict[str, str | int] = {"error.type": type(error).__name__ if status is None else str(status)}
    if status is not None:
        found["http.response.status_code"] = status
    if code is not None:
        found["oidc_actor.oauth_error"] = code if code in KNOWN_CODES else OTHER
    return found
