"""What a failed request means for what comes next."""

import pytest

from oidc_actor.machine import failure_policy
from oidc_actor.values.errors import (
    DiscoveryError,
    OIDCActorError,
    SecretUnavailable,
    TokenRequestError,
    UnusableMetadata,
    refuses_refresh_token,
)

pytestmark = pytest.mark.P5

NO_ANSWER = TokenRequestError("no answer")


def status(number: int, **fields: object) -> TokenRequestError:
    return TokenRequestError(f"HTTP {number}", status=number, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (NO_ANSWER, True),
        (DiscoveryError("no answer"), True),
        (status(500), True),
        (status(503), True),
        (status(408), True),
        (status(425), True),
        (status(429), False),
        (status(499), False),
        (status(400, error="invalid_grant"), False),
        (status(401, error="invalid_client", retryable=False), False),
        (status(200), False),
        (SecretUnavailable("missing"), False),
        (UnusableMetadata("odd", sent=False), False),
        (OIDCActorError("a bug"), False),
    ],
    ids=str,
)
def test_whose_failure_it_is(error: OIDCActorError, outage: bool) -> None:
    assert failure_policy.opens_circuit(error) is outage


@pytest.mark.parametrize(
    ("error", "bound"),
    [
        *((status(number), "manager") for number in (200, 302, 400, 401, 403, 404, 408)),
        (status(429), "client"),
        *((status(number), "issuer") for number in (500, 502, 503, 599)),
        (NO_ANSWER, "manager"),
    ],
    ids=str,
)
def test_whom_a_retry_after_binds(error: OIDCActorError, bound: str) -> None:
    assert failure_policy.bound_by_retry_after(error) == bound


@pytest.mark.parametrize(
    ("error", "permanent"),
    [(status(401, retryable=False), True), (status(401), False), (OIDCActorError("a bug"), False), (NO_ANSWER, False)],
    ids=str,
)
def test_what_is_unknown_is_transient(error: OIDCActorError, permanent: bool) -> None:
    assert error.permanent is permanent


def test_the_wait_that_was_asked_for() -> None:
    assert failure_policy.retry_after_s(status(429, retry_after_s=30.0)) == 30
    assert failure_policy.retry_after_s(status(429)) == 0
    assert failure_policy.retry_after_s(OIDCActorError("x")) == 0


@pytest.mark.parametrize(
    ("error", "status_of", "code_of"),
    [
        (status(400, error="invalid_grant"), 400, "invalid_grant"),
        (status(503), 503, None),
        (NO_ANSWER, None, None),
        (OIDCActorError("a bug"), None, None),
    ],
    ids=str,
)
def test_what_came(error: OIDCActorError, status_of: int | None, code_of: str | None) -> None:
    assert (failure_policy.status_of(error), failure_policy.code_of(error)) == (status_of, code_of)


@pytest.mark.parametrize(
    ("error", "failures", "moved"),
    [
        (status(404), 1, True),
        (status(405), 1, True),
        (status(410), 1, True),
        (status(301), 1, True),
        (status(302), 1, True),
        (status(303), 1, True),
        (status(307), 1, True),
        (status(308), 1, True),
        (status(400), 4, False),
        (status(503), 4, False),
        (NO_ANSWER, 1, False),
        (NO_ANSWER, 3, False),
        (NO_ANSWER, 4, True),
        (NO_ANSWER, 8, True),
        (SecretUnavailable("missing"), 4, False),
    ],
    ids=str,
)
def test_whether_the_endpoint_may_have_moved(error: OIDCActorError, failures: int, moved: bool) -> None:
    assert failure_policy.may_have_moved(error, failures) is moved


@pytest.mark.parametrize(
    ("error", "rotated"),
    [
        (TokenRequestError("timed out", sent=True), True),
        (TokenRequestError("refused", sent=False), False),
        (SecretUnavailable("missing"), False),
        (status(200), True),
        (status(299), True),
        (status(300), False),
        (status(302), False),
        (status(199), False),
        (status(500), False),
        (status(502), True),
        (status(503), False),
        (status(504), True),
        (OIDCActorError("a bug"), True),
    ],
    ids=str,
)
def test_whether_a_refresh_token_may_have_been_redeemed(error: OIDCActorError, rotated: bool) -> None:
    assert failure_policy.may_have_rotated(error) is rotated


def test_only_an_answer_refuses_a_refresh_token() -> None:
    assert refuses_refresh_token(status(400, error="invalid_grant"))
    assert not refuses_refresh_token(NO_ANSWER)
    assert not refuses_refresh_token(OIDCActorError("a bug"))


def test_metadata_that_cannot_be_used_are_asked_for_again() -> None:
    assert failure_policy.may_have_moved(UnusableMetadata("odd", sent=False), 1)
    assert not failure_policy.may_have_moved(SecretUnavailable("missing"), 1)
