"""What `check` concludes from what it saw: one pure function for each check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from oidc_actor.machine.forecast import Plan, forecast, longest_s, most_buffer_s
from oidc_actor.protocol.redaction import presentable
from oidc_actor.values.clock import Skew
from oidc_actor.values.resource_metadata import ResourceMetadata

Result = Literal["pass", "warn", "fail", "skip"]

CLOCK_WARN_S = 5.0
CLOCK_FAIL_S = 300.0  # what most servers tolerate in a signed assertion
CERTIFICATE_WARN_DAYS = 14.0
SHOWN_CLAIMS = ("iss", "sub", "aud", "azp", "client_id", "scope", "scp", "roles", "exp")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        result: How it is.
        found: What was seen; no secret, no token.
        fix: What to do about it; `None` where nothing is to be done.
    """

    check: str
    result: Result
    found: str
    fix: str | None = None


def skipped(check: str, because: str) -> Finding:
    """A check that could not be made."""
    return Finding(check, "skip", because)


def judge_discovery(url: str, took_s: float, absent: Sequence[tuple[str, int]]) -> Finding:
    """Where the metadata are.

    Args:
        url: The address that has them.
        took_s: How long its answer took.
        absent: The addresses that were asked before, and with what status they answered.
    """
    others = "".join(f"; none at {one} (HTTP {status})" for one, status in absent)
    return Finding("discovery", "pass", f"{url}, {took_s:.2f} s{others}")


def judge_resource(
    found: ResourceMetadata, url: str, absent: Sequence[tuple[str, int]], proves_key: bool, shows_certificate: bool
) -> Finding:
    """Whether the token will be of a kind that the resource takes; that it takes this issuer's is known (RFC 9728 section 2).

    Args:
        found: What it says of itself.
        url: Where that is.
        absent: The addresses that were asked before, and with what status they answered.
        proves_key: Whether the token is asked for with a DPoP proof.
        shows_certificate: Whether it is asked for with a client's certificate.
    """
    told = f"it takes tokens of this issuer: {url}" + "".join(f"; none at {one} (HTTP {code})" for one, code in absent)
    if found.dpop_bound_access_tokens_required and not proves_key:
        return Finding("resource", "warn", f"{told}; but only such as are bound to a key", "Add --dpop (dpop=True).")
    if found.tls_client_certificate_bound_access_tokens and not shows_certificate:
        fix = "Give the client's certificate: --client-cert FILE (client_certificate=)."
        return Finding("resource", "warn", f"{told}; but only such as are bound to a client's certificate", fix)
    if found.bearer_methods_supported is not None and "header" not in found.bearer_methods_supported:
        ways = ", ".join(found.bearer_methods_supported) or "no way"
        fix = "The adapters send a token in the Authorization header only: send it yourself, with TokenManager.source."
        return Finding("resource", "warn", f"{told}; but not in a header, only by: {ways}", fix)
    return Finding("resource", "pass", told)


def advice_for_resource(resource_url: str, issuer_url: str, said: Mapping[str, Any]) -> str | None:
    """What to do where a resource's metadata are another's, or name other issuers.

    Args:
        resource_url: The resource that was asked for.
        issuer_url: The issuer that it should name.
        said: What it says.
    """
    named, servers = said.get("resource"), said.get("authorization_servers")
    if isinstance(named, str) and named != resource_url:
        return f"Use --resource-url {presentable(named, ())} if that is your API; it counts as it is written there."
    if isinstance(named, str) and isinstance(servers, list) and servers:
        shown = presentable(", ".join(map(str, servers)), ())
        return f"It takes tokens of {shown}, not of {issuer_url}: use --issuer with one of them if you trust it with the secret."
    return None


def judge_issuer(asked: str, named: object) -> Finding:
    """Whether the metadata's `issuer` is, byte for byte, the one asked for (OpenID Connect Discovery section 4.3)."""
    if named == asked:
        return Finding("issuer", "pass", "the metadata name exactly this issuer")
    if not isinstance(named, str):
        return Finding("issuer", "fail", "the metadata name no issuer", "Is this an OpenID provider's issuer URL?")
    if named.rstrip("/") == asked.rstrip("/"):
        return Finding("issuer", "fail", f"they differ by a slash at the end: {named}", f"Use --issuer {named}")
    fix = f"Use --issuer {named} if that is your provider; if not, another server answers at this address."
    return Finding("issuer", "fail", f"the metadata name another issuer: {named}", fix)


def judge_tls(
    url: str,
    *,
    loopback: bool,
    version: str | None = None,
    days_left: float | None = None,
    error: str | None = None,
    spoke_tls: bool = True,
    wants_certificate: bool = False,
    is_tls_by_http: bool = False,
) -> Finding:
    """Whether the way to a URL is protected.

    Args:
        url: Scheme, host and port.
        loopback: Whether the host is this machine.
        version: The protocol agreed upon; `None` for plain http.
        days_left: Days until the certificate ends; `None` where there is none.
        error: What went wrong in the handshake; `None` for nothing.
        spoke_tls: Whether the server speaks TLS at all.
        wants_certificate: Whether the server ends the connection for want of a client's certificate.
        is_tls_by_http: Whether the URL is plain http, and the server speaks TLS only.
    """
    if not spoke_tls:
        fix = "Use the port at which the provider speaks TLS, or http:// where that stays on this machine."
        return Finding("tls", "fail", f"{url}: {error}", fix)
    if wants_certificate:
        fix = "Give the client's certificate: --client-cert FILE, and --client-key FILE where its key is in another."
        return Finding(
            "tls",
            "fail",
            f"{url}: the server ends it, as one does that asks for a client's certificate (mutual TLS)",
            fix,
        )
    if is_tls_by_http:
        fix = f"Use {url.replace('http://', 'https://')} in its place."
        return Finding("tls", "fail", f"{url}: the server at this port speaks TLS, and was asked by plain http", fix)
    if error is not None:
        fix = "Name the CA that signed it with --ca-bundle FILE."
        if "mismatch" in error:  # OpenSSL's word for a host's name and for an address
            fix = "Use the name that the server's certificate has, or have one issued for this name; no --ca-bundle mends it."
        elif "expired" in error or "not yet valid" in error:
            fix = "Have the certificate renewed; if it is good, this machine's clock is wrong. No --ca-bundle mends it."
        return Finding("tls", "fail", f"{url}: {error}", fix)
    if version is None and loopback:
        return Finding("tls", "pass", f"{url} is plain http, and stays on this machine")
    if version is None:
        return Finding("tls", "warn", f"{url} is plain http: anyone on the way reads secret and token", "Use https.")
    if days_left is not None and days_left < CERTIFICATE_WARN_DAYS:
        return Finding(
            "tls",
            "warn",
            f"{url}: {version}, but the certificate ends in {days_left:.0f} days",
            "Renew the certificate.",
        )
    until = "" if days_left is None else f", certificate good for {days_left:.0f} days"
    return Finding("tls", "pass", f"{url}: {version}{until}")


def judge_identity(found: str, claims: Mapping[str, Any]) -> Finding:
    """Judge the identity that a place gives to a program.

    Args:
        found: Where it comes from.
        claims: What the token says; empty where that cannot be read.
    """
    told = ", ".join(f"{name} {_shown_claim(claims[name])}" for name in ("iss", "sub", "aud") if name in claims)
    return Finding("identity", "pass", f"found {found}: " + (told or "a token that is no JWT"))


def _shown_claim(value: object) -> str:
    text = " and ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(one if one.isprintable() else " " for one in text[:200])


def judge_client_auth(chosen: str, offered: Sequence[str] | None, signed: str | None = None) -> Finding:
    """Whether the way the client will authenticate is one that the provider offers.

    Args:
        chosen: That way.
        offered: Those of the metadata; `None` where they do not say.
        signed: What a private key signs with; `None` where there is none.
    """
    with_what = "" if signed is None else f"; it signs by {signed}"
    if offered is None:
        return Finding("client auth", "pass", f"{chosen}; the metadata do not say what is offered{with_what}")
    if chosen in offered:
        return Finding("client auth", "pass", f"{chosen}, which the provider offers{with_what}")
    fix = f"Use --client-auth with one of them, or allow {chosen} at the provider."
    return Finding("client auth", "warn", f"{chosen} is not among those offered: {', '.join(offered) or 'none'}", fix)


def judge_lifetime(expires_in_s: float | None, source: str, buffer_s: float) -> Finding:
    """How the token's life goes with the manager's refresh buffer.

    Args:
        expires_in_s: Life in seconds; `None` where the answer did not say.
        source: Where the figure came from: `expires_in`, `expires_at`, `exp` or `default`.
        buffer_s: The manager's `refresh_buffer_seconds`.
    """
    if expires_in_s is None or source == "default":
        fix = "Have the provider send expires_in, or set default_lifetime_seconds to what it really is."
        return Finding("lifetime", "warn", "the answer does not say how long the token lives", fix)
    life = f"{expires_in_s:g} s (by {source})"
    if source == "exp":
        life = f"{expires_in_s:g} s (by exp of the token: the answer has no usable expires_in)"
    lead_s = min(buffer_s, expires_in_s / 2)
    if lead_s < buffer_s:
        fix = f"Nothing breaks. Set refresh_buffer_seconds to {lead_s:g} or less to choose the point yourself."
        return Finding(
            "lifetime", "warn", f"{life}, too short for a buffer of {buffer_s:g} s: refreshed at half of it", fix
        )
    return Finding("lifetime", "pass", f"{life}, refreshed {lead_s:g} s before its end")


def judge_outages(plan: Plan, default_lifetime: bool = False) -> Finding:
    """The forecast of outages, and what would make it better; a forecast never fails.

    Args:
        plan: What the manager will be like.
        default_lifetime: Whether the lifetime is only assumed.
    """
    told, most_s = forecast(plan), most_buffer_s(plan)
    always, at_best = spoken(told.always_s), spoken(told.at_best_s)
    assumed = f" if the token lives {plan.lifetime_s:g} s" if default_lifetime else ""
    held = f"with these lifetimes and this buffer{assumed} an outage of up to {always} is always survived, {at_best} at best"
    if told.always_s < 1:
        held = f"with these lifetimes and this buffer{assumed} no outage is always survived, one of up to {at_best} at best"
    # Ten requests in the time that there is; a provider that needs longer to answer than that needs longer lives.
    timeout_s = round(max(most_s / 10, 2 * plan.took_s, 0.1), 1)
    fix = None
    if plan.buffer_s < most_s * 0.9:
        more = spoken(longest_s(replace(plan, buffer_s=most_s)))
        fix = (
            f"refresh_buffer_seconds={most_s:g} (half of the token's life, the most that counts) would make it {more}."
        )
    elif timeout_s < plan.timeout_s / 2 and told.always_s < most_s / 2:
        more = spoken(longest_s(replace(plan, timeout_s=timeout_s)))
        fix = f"timeout_seconds={timeout_s:g} would make it {more}: a request that is lost takes {plan.timeout_s:g} s now."
    return Finding("outages", "pass" if told.always_s >= 1 else "warn", held, fix)


def spoken(seconds: float) -> str:
    """A time as a person says it, in its two largest units, and never more than it is: `2 min 10 s`."""
    whole = int(seconds + 1e-3)  # 50 s must not be 49 because of a rounding
    for size_s, large, small_s, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size_s:
            rest = whole % size_s // small_s
            return f"{whole // size_s} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def judge_refresh_token(came: bool) -> Iterator[Finding]:
    """What is to be known of the refresh token that came with the answer; nothing where none did."""
    if came:
        found = "one came; a manager follows it as it rotates, and no process shares it with another"
        fix = (
            "Give it to one process only, as RefreshToken: several processes with one refresh token, or a restart with one "
            "that has been redeemed, lose the login at a provider that rotates refresh tokens (RFC 9700 section 4.14). Processes "
            "that need the same login share a store (FileStore, RedisStore)."
        )
        yield Finding("refresh token", "pass", found, fix)


def judge_claims(
    claims: Mapping[str, Any], *, issuer: str | None, audience: Sequence[str], expires_in_s: float | None
) -> Finding:
    """What a JWT says of itself; the provider's signature is not checked, so nothing here is trusted.

    Args:
        claims: Empty for a token that is no JWT.
        issuer: The provider's issuer identifier; `None` where it is not known.
        audience: The service that the token was asked for.
        expires_in_s: Life in seconds as the answer said; `None` where it did not.
    """
    if not claims:
        return Finding("claims", "pass", "an opaque token: only the provider can read it")
    shown = ", ".join(f"{name}={_claim(name, claims[name])}" for name in SHOWN_CLAIMS if claims.get(name))
    problem = _claims_problem(claims, issuer, audience, expires_in_s)
    if problem is None:
        return Finding("claims", "pass", f"{shown} (not verified)")
    return Finding("claims", "warn", f"{problem[0]}: {shown} (not verified)", problem[1])


def _claim(name: str, value: object) -> str:
    if name == "exp" and isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
        except (ValueError, OverflowError, OSError):
            return repr(value)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _claims_problem(
    claims: Mapping[str, Any], issuer: str | None, audience: Sequence[str], expires_in_s: float | None
) -> tuple[str, str] | None:
    held = claims.get("aud")
    missing = [name for name in audience if name not in (held if isinstance(held, list) else [held])]
    if missing:
        return f"not made for {', '.join(missing)}", "Allow this audience for the client at the provider."
    if issuer is not None and claims.get("iss") not in (None, issuer):
        return "made by another issuer than the metadata's", "An API that checks `iss` must be told this one."
    exp, iat = claims.get("exp"), claims.get("iat")
    if isinstance(exp, int | float) and isinstance(iat, int | float) and expires_in_s is not None:
        life_s = exp - iat
        if life_s < expires_in_s - CLOCK_WARN_S:
            return f"it ends after {life_s:g} s, before expires_in", "APIs refuse it early; mend it at the provider."
    return None


def judge_clock(skew: Skew) -> Finding:
    """How this machine's clock goes with the server's `Date`."""
    off_s = abs(skew.least_s)
    direction = "behind" if skew.ahead_s > 0 else "ahead of"
    if off_s <= CLOCK_WARN_S:
        return Finding("clock", "pass", "this machine's clock and the server's agree")
    found = f"this machine's clock is {abs(skew.ahead_s):.0f} s {direction} the server's"
    fix = "Set this machine's clock (NTP), or the server's: APIs compare a token's exp and nbf with their own."
    return Finding("clock", "fail" if off_s > CLOCK_FAIL_S else "warn", found, fix)
