"""The device flow (RFC 8628), in which a person lets this program in with a browser elsewhere: its first response."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.response_fields import read_number, read_object
from oidc_actor.transport import Response
from oidc_actor.values.secrets import Sealed, Secret, put, secret_problem
from oidc_actor.values.urls import url_problem

DEFAULT_INTERVAL_S = 5.0
"""Seconds between two questions where the provider does not say (section 3.2)."""


class DeviceAuthorization(Sealed):
    """What the person has to do, and what the program redeems afterwards.

    Attributes:
        device_code: What the program redeems.
        user_code: What the person types in, or compares.
        verification_uri: The page on which the person does that.
        verification_uri_complete: The same with the code in it, or ``None``.
        expires_in_s: Seconds that there are for it.
        interval_s: Seconds to wait between two questions.
    """

    __slots__ = (
        "device_code", "expires_in_s", "interval_s", "user_code", "verification_uri", "verification_uri_complete",
    )  # fmt: skip
    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in_s: float
    interval_s: float

    def __init__(self, members: Mapping[str, Any], expires_in_s: float, interval_s: float) -> None:
        put(self, device_code=Secret(members["device_code"]), user_code=members["user_code"])
        put(self, verification_uri=members["verification_uri"], expires_in_s=expires_in_s, interval_s=interval_s)
        put(self, verification_uri_complete=members.get("verification_uri_complete"))

    def __repr__(self) -> str:
        return f"DeviceAuthorization({self.verification_uri!r}, expires_in_s={self.expires_in_s!r})"


def read_device_authorization(
    response: Response, sent: Collection[Secret], *, allow_insecure_http: bool = False
) -> DeviceAuthorization | str:
    """Read the response that begins a flow (section 3.2).

    Args:
        response: A response with status 200.
        sent: What no error may show.
        allow_insecure_http: Whether a person may be sent to plain http beyond loopback.

    Returns:
        The authorization, or what is wrong with the response.
    """
    members = read_object(response.body)
    if isinstance(members, str):
        return members
    if secret_problem(members.get("device_code")) is not None:
        return "expected a device_code, got none"
    code = members.get("user_code")
    # It is written to a terminal: nothing in it may be more than a text.
    if not isinstance(code, str) or not code.isprintable() or not code.strip() or len(code) > 80:
        return "expected a user_code, got none that can be shown"
    for name in ("verification_uri", "verification_uri_complete"):
        url = members.get(name)
        problem = url_problem(url, allow_insecure_http=allow_insecure_http)
        if problem is not None and not (url is None and name == "verification_uri_complete"):
            secrets = (*sent, Secret(members["device_code"]))
            can_be_shown = not isinstance(url, str) or presentable(url, secrets) == url  # the problem quotes it
            return f"{name}: {problem if can_be_shown else 'expected an https URL, got one that is not shown'}"
    lives, interval = read_number(members.get("expires_in")), read_number(members.get("interval"))
    if lives is None or lives <= 0:
        return "expected a positive expires_in, got none"
    return DeviceAuthorization(
        members, lives, interval if interval is not None and interval > 0 else DEFAULT_INTERVAL_S
    )
