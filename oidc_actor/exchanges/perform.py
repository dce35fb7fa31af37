"""One request through a transport, whatever that raises or returns."""

from __future__ import annotations

from oidc_actor.answers.redaction import presentable
from oidc_actor.errors import ProviderError
from oidc_actor.secrets import Secret
from oidc_actor.transport import NoAnswer, Request, Response, Transport, TransportError


def perform(
    transport: Transport, request: Request, secrets: tuple[Secret, ...], failure: type[ProviderError]
) -> Response | ProviderError:
    """Run one exchange on the calling thread. It raises nothing: the frames below a transport's error hold what was sent.

    Args:
        transport: What performs the request.
        request: The request.
        secrets: What no error may show.
        failure: The type of error for no answer.

    Returns:
        The answer, or why there is none.
    """
    try:
        response: object = transport(request)
    except NoAnswer as error:
        return failure(f"no answer: {error}", sent=error.sent)
    except TransportError as error:  # of an injected transport
        return failure(f"no answer: {presentable(str(error), secrets)}", sent=error.sent)
    except Exception as error:  # noqa: BLE001 - an injected transport; its own text may quote the request
        return failure(f"no answer: the transport raised {type(error).__name__} for {request!r}")
    if isinstance(response, Response):
        return response
    return failure(f"no answer: expected a Response from the transport, got {type(response).__name__}")
