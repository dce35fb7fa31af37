"""From options to a rehearsal: what is checked before anything starts, and the one look at the user's provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from oidc_actor.cli.connection import Connection, connect, names_provider
from oidc_actor.cli.doctor import Recorder, plan_of
from oidc_actor.cli.options import ConnectionOptions
from oidc_actor.cli.rehearsal.outages import IN_FLEET_S, KINDS, MOMENTS, NEARLY_S, Kind, Moment, Outage, Played, outages
from oidc_actor.cli.rehearsal.stage import Shape, Stage
from oidc_actor.credentials.grants import ClientCredentials, RefreshToken
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.http import check_timeout
from oidc_actor.http.client import RequestsTransport
from oidc_actor.machine.failure_policy import RetryPolicy
from oidc_actor.machine.forecast import Plan
from oidc_actor.machine.state import Rules
from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import holds_secrets

LONGEST_LIFE_S = 366 * 86_400.0

NO_LIFETIME = (
    "--lifetime: expected the seconds that a token lives, beside --refresh-token-file, as a rehearsal redeems no refresh token; "
    "got none"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be rehearsed. Times are seconds.

    Attributes:
        lifetime_s: What a token lives; ``None`` where the provider is to be asked.
        buffer_s: The manager's ``refresh_buffer_seconds``.
        retry: The manager's ``retry``.
        min_interval_s: The manager's ``min_interval_seconds``.
        retry_after_s: What ``Retry-After`` says, with HTTP 429.
        lengths_s: How long outages last; none for what is forecast, about.
        survive_s: The longest outage that must be survived; ``None`` for what is forecast.
        kinds: What goes wrong.
        moments: When.
        members: How many managers there are.
    """

    lifetime_s: float | None = None
    buffer_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    min_interval_s: float = 1.0
    retry_after_s: float = 30.0
    lengths_s: Sequence[float] = ()
    survive_s: float | None = None
    kinds: Sequence[Kind] = KINDS
    moments: Sequence[Moment] = MOMENTS
    members: int = 1

    def check(self) -> None:
        """See that each time is one.

        Raises:
            ConfigError: One is not.
        """
        times = {
            "--lifetime": self.lifetime_s or 0.0,
            "--refresh-buffer": self.buffer_s,
            "--min-interval": self.min_interval_s,
            "--retry-after": self.retry_after_s,
        }
        for option, given in times.items():
            if not is_seconds(given):
                raise ConfigError(f"{option}: expected finite seconds of at least 0, got {given!r}")
        if self.lifetime_s is not None and self.lifetime_s > LONGEST_LIFE_S:
            raise ConfigError(f"--lifetime: expected the seconds of a year at most, got {self.lifetime_s!r}")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is rehearsed, with credentials of this process's own provider only.

    Attributes:
        plan: What each manager is like, where a lost request takes its whole timeout.
        shape: What the provider's answers are like.
        wanted: What was wanted.
        is_lifetime_assumed: Whether neither the provider nor an option says how long a token lives.
    """

    plan: Plan
    shape: Shape
    wanted: Wanted
    is_lifetime_assumed: bool = False

    def outages(self) -> list[Outage]:
        """What is played, in that order."""
        wanted = self.wanted
        return list(
            outages(
                self.plan,
                wanted.kinds,
                wanted.moments,
                wanted.lengths_s,
                retry_after_s=wanted.retry_after_s,
                survive_s=wanted.survive_s,
                nearly_s=NEARLY_S if wanted.members == 1 else IN_FLEET_S + 2 * self.plan.took_s,
            )
        )

    def play(self) -> list[Played]:
        """Play all of them."""
        wanted = self.wanted
        with Stage(self.plan, self.shape, members=wanted.members, retry_after_s=wanted.retry_after_s) as stage:
            return [stage.play(one) for one in self.outages()]


def set_up(options: ConnectionOptions, wanted: Wanted, refresh_token_file: Path | None = None) -> Rehearsal:
    """Check what was said, and ask the provider where it has to be asked.

    Args:
        options: Which provider, as whom.
        wanted: What is to be rehearsed.
        refresh_token_file: The file of a refresh token, which is not read.

    Raises:
        ConfigError: An option is wrong; nothing was sent.
        OIDCActorError: The provider gave no token.
    """
    wanted.check()
    check_timeout(options.timeout, "--timeout")
    is_login = refresh_token_file is not None
    if is_login and wanted.lifetime_s is None:
        raise ConfigError(NO_LIFETIME)
    if wanted.lifetime_s is None:
        if not names_provider(options):
            raise ConfigError("no provider: give --issuer URL or set OIDC_ISSUER_URL, or give --lifetime SECONDS")
        plan, shape, is_assumed = _asked(connect(options), wanted.buffer_s)
    else:
        rules = Rules(discovers=not options.token_endpoint, own_refresh_token=is_login)
        plan = Plan(_NO_LOGIN, wanted.lifetime_s, wanted.buffer_s, timeout_s=options.timeout, rules=rules)
        shape, is_assumed = Shape(refresh_token=is_login or bool(options.username)), False
    rules = replace(plan.rules, retry=wanted.retry, min_interval_s=wanted.min_interval_s)
    # The rehearsal's own login, not the user's: no secret of his goes further than here.
    auth = RefreshToken("rehearsal", "rehearsal") if rules.own_refresh_token else _NO_LOGIN
    plan = replace(plan, auth=auth, rules=rules, refresh_token=shape.refresh_token)
    if plan.lead_s < 0:
        life, given = f"{plan.lifetime_s:g} s that a token lives", f"{wanted.min_interval_s:g} s"
        raise ConfigError(
            f"--min-interval: expected no more than the {life}, or there is none for a while, got {given}"
        )
    return Rehearsal(plan, shape, wanted, is_assumed)


_NO_LOGIN = ClientCredentials("rehearsal")


@holds_secrets
def _asked(connection: Connection, buffer_s: float) -> tuple[Plan, Shape, bool]:
    """Ask the provider for one token; keep of it how long it lives, how long it took, and what the answer was like, no more."""
    recorder, insecure = Recorder(RequestsTransport(ca_bundle=connection.ca_bundle)), connection.allow_insecure_http
    config, timeout_s = connection.config, connection.timeout_s
    if config is None:
        assert connection.issuer_url is not None, "either was given"
        config, _ = request_metadata(recorder, connection.issuer_url, timeout_s=timeout_s, allow_insecure_http=insecure)
    parsed = request_token(TokenRequest(recorder, config, connection.auth, timeout_s=timeout_s))
    source, token = parsed.lifetime_source, parsed.token
    shape = Shape(
        expires_in=source in ("expires_in", "expires_at"),
        has_exp=source == "exp",
        refresh_token=token.refresh_token is not None,
        token_type=token.token_type,
    )
    return plan_of(connection, parsed, recorder.last, buffer_s), shape, source == "default"
