"""An instance of every public class with secrets wherever it can hold one; and of the others, why they hold none.

A new public class without an entry here fails `test_sweep`.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
from fakes import ISSUER
from secrecy.world import CONFIG, KEY, SECRET, World, raised

from oidc_actor import TokenManager
from oidc_actor.adapters import aiohttp, azure_core, google_auth, httpx, httpx2
from oidc_actor.adapters import grpc as grpc_adapter
from oidc_actor.adapters import redis as redis_adapter
from oidc_actor.adapters import requests as requests_adapter
from oidc_actor.adapters.authorization import Authorization, Proof
from oidc_actor.adapters.challenges import Unauthorized
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.cli.device import Kept
from oidc_actor.cli.doctor import Doctor
from oidc_actor.cli.rehearsal.set_up import Rehearsal, Wanted
from oidc_actor.cli.rehearsal.stage import Shape
from oidc_actor.cli.store_doctor import StoreAsked, StoreDoctor, asked_of
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import (
    ClientCredentials,
    DeviceCode,
    IdentityAssertion,
    JWTBearer,
    RefreshToken,
    TokenExchange,
)
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.credentials.overlap import Overlap
from oidc_actor.endpoints.custom import Call, Custom, FetchContext
from oidc_actor.endpoints.token_endpoint import Sent, TokenRequest
from oidc_actor.http.client import RequestsTransport
from oidc_actor.http.responses import Incoming, read_response, read_status_line
from oidc_actor.machine import effects, events
from oidc_actor.machine.events import Accepted, FetchFailed, FetchSucceeded, Refresh, Refusal, Rejected, Wait
from oidc_actor.machine.forecast import Plan
from oidc_actor.machine.state import Attempt, Sharing, Trial
from oidc_actor.manager.certificate_watch import CertificateWatch
from oidc_actor.manager.identity_providers import FirstStep, IdentityProvider
from oidc_actor.manager.issuers import Discovery, Sending, Subscriber
from oidc_actor.manager.log import EndedRequest
from oidc_actor.manager.options import Options
from oidc_actor.manager.shared_store import Caller, caller_of
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.oidc import get_token
from oidc_actor.pool.members import Key, KeyStart, Member, PoolFull, Settings, Table, UnknownKey, check_settings
from oidc_actor.pool.token_pool import TokenPool
from oidc_actor.protocol.device_authorization import DeviceAuthorization
from oidc_actor.protocol.error_response import read_error_response
from oidc_actor.protocol.metadata import Tried, parse_discovery
from oidc_actor.protocol.redaction import layers
from oidc_actor.reading.cell import Candidate, Snapshot
from oidc_actor.secret_sources.github_actions import GitHubActionsToken
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.secret_sources.metadata_servers import AzureMetadataToken, GoogleMetadataToken
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.secret_sources.spiffe import SpiffeJWT
from oidc_actor.secret_sources.workload_identity import WorkloadIdentity
from oidc_actor.sharing import store
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.records import Record
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import Sealer
from oidc_actor.sidecar.asgi import Answer
from oidc_actor.sidecar.token_files import TokenFile
from oidc_actor.streams import Renewal
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.transport import Request, Response, TransportError
from oidc_actor.values.secrets import SecretCall, SecretFile
from oidc_actor.values.tokens import TokenResponse
from supervision import Supervisor


def _unreachable(request: Request) -> Response:
    raise TransportError(f"no route for {request.body.decode()}")


_FLEET_KEY = "aHVudGVyMi10aGUtc2VjcmV0LWh1bnRlcjItdGhlLXM="


def _redis_store() -> RedisStore:
    url = f"redis://user:{SECRET}@localhost/0"
    return RedisStore.from_url(url, namespace="secrecy", keys=[_FLEET_KEY], notify=True)


def _memory_store(w: World) -> MemoryStore:
    made = MemoryStore()
    made.records["key"] = Record(token=w.secret, refresh_token=w.secret, taken=w.secret)
    return made


def _watch(world: World) -> CertificateWatch:
    """One that a manager with secrets has joined."""
    watch = CertificateWatch(CERTIFICATE, world.cell.clock)
    watch.join(world.actor._own.manager)
    return watch


def _caller(w: World) -> Caller:
    caller = caller_of(replace(w.actor._options, store=_memory_store(w)), w.cell)
    assert caller is not None
    return caller


def _revoke(w: World) -> effects.Revoke:
    return effects.Revoke(1, None, (("access_token", w.secret),))


def _pool_settings(w: World) -> Settings:
    return check_settings(lambda key: {}, "pool", None, None, {"auth": w.auth})


def _refused_by_a_pool(error: type[Exception]) -> None:
    """Ask a pool of its own for a key that it has not, or has no room for."""
    options: dict[str, Any] = {
        "auth": ClientCredentials("id", SECRET),
        "oidc_config": CONFIG,
        "transport": _unreachable,
    }
    pool = TokenPool.start_link(None if error is UnknownKey else lambda key: {}, max_size=1, **options)
    try:
        if error is PoolFull:
            TokenPool.put(pool, "a")
            TokenManager.subscribe(TokenPool.source(pool, "a").server, lambda token: None)
        TokenPool.get_token(pool, SECRET)
    finally:
        TokenPool.stop(pool)


def _lease(w: World) -> events.HeldLease:
    return events.HeldLease("c", 1, 1.0, w.secret, w.secret)


def _custom() -> Custom:
    return Custom(functools.partial(lambda secret, context: TokenResponse(secret), SECRET), identity="app")


def _bad_metadata() -> object:
    said = {"issuer": ISSUER, "token_endpoint": f"https://u:{SECRET}@id.example/token?{SECRET}"}
    return parse_discovery(Response(200, {}, json.dumps(said)), ISSUER, now_wall=0.0)


CERTIFICATE = ClientCertificate("c", password=SECRET)

MADE: dict[str, Callable[[World], object]] = {
    "protocol.metadata.Tried": lambda w: Tried(ISSUER, w.response, "expected metadata, got none"),
    "protocol.redaction.Layer": lambda w: next(layers(SECRET)),
    "protocol.error_response.ErrorResponse": lambda w: read_error_response(w.echo(), w.sent.all(), "a token"),
    "adapters.aiohttp.OIDCAuth": lambda w: aiohttp.OIDCAuth(w.name),
    "adapters.authorization.Authorization": lambda w: Authorization.bearer(SECRET),
    "adapters.authorization.Part": lambda w: Authorization.bearer(SECRET)[3:],
    "adapters.authorization.Proof": lambda w: Proof(SECRET),
    "adapters.azure_core.AsyncOIDCCredential": lambda w: azure_core.AsyncOIDCCredential(w.name),
    "adapters.azure_core.OIDCCredential": lambda w: azure_core.OIDCCredential(w.name),
    "adapters.google_auth.OIDCCredentials": lambda w: google_auth.OIDCCredentials(w.name),
    "adapters.google_auth.SubjectToken": lambda w: google_auth.SubjectToken(w.name),
    "adapters.grpc.OIDCAuth": lambda w: grpc_adapter.OIDCAuth(w.name),
    "adapters.httpx.OIDCAuth": lambda w: httpx.OIDCAuth(w.name),
    "adapters.httpx2.OIDCAuth": lambda w: httpx2.OIDCAuth(w.name),
    "adapters.presenter.Presenter": lambda w: Presenter(w.name),
    "adapters.certificates.ByCertificate": lambda w: httpx.CertificateTransport(CERTIFICATE)._by,
    "adapters.httpx.AsyncCertificateTransport": lambda w: httpx.AsyncCertificateTransport(CERTIFICATE),
    "adapters.httpx.CertificateTransport": lambda w: httpx.CertificateTransport(CERTIFICATE),
    "adapters.httpx2.AsyncCertificateTransport": lambda w: httpx2.AsyncCertificateTransport(CERTIFICATE),
    "adapters.httpx2.CertificateTransport": lambda w: httpx2.CertificateTransport(CERTIFICATE),
    "adapters.requests.CertificateAdapter": lambda w: requests_adapter.CertificateAdapter(CERTIFICATE),
    "adapters.challenges.Unauthorized": lambda w: Unauthorized(
        401, "GET", ISSUER, Authorization.dpop(SECRET), Proof(SECRET), ['DPoP error="use_dpop_nonce"'], "nonce"
    ),
    "adapters.redis.OIDCCredentials": lambda w: redis_adapter.OIDCCredentials(w.name),
    "adapters.requests.OIDCAuth": lambda w: requests_adapter.OIDCAuth(w.name),
    "cli.connection.Connection": lambda w: w.connection(),
    "cli.doctor.Doctor": lambda w: Doctor(w.connection(), lambda request: w.response, 60.0),
    "cli.rehearsal.set_up.Rehearsal": lambda w: Rehearsal(Plan(w.auth, 60.0), Shape(), Wanted()),
    "cli.store_doctor.StoreAsked": lambda w: _store_asked(w),
    "cli.store_doctor.StoreDoctor": lambda w: StoreDoctor(_store_asked(w)),
    "cli.device.Kept": lambda w: Kept(w.folder / "secret"),
    "cli.doctor.TimedResponse": lambda w: w.recorder().last,
    "cli.doctor.Recorder": lambda w: w.recorder(),
    "http.client.RequestsTransport": lambda w: _used(RequestsTransport(), w.request),
    "credentials.grants.ClientCredentials": lambda w: ClientCredentials(
        "id", private_key=PrivateKey(KEY, password=SECRET)
    ),
    "credentials.grants.Password": lambda w: w.auth,
    "credentials.grants.RefreshToken": lambda w: RefreshToken(SECRET, "id", lambda: SECRET),
    "manager.shared_store.Caller": lambda w: _caller(w),
    "manager.shared_store.StoreClient": lambda w: _caller(w).client,
    "sharing.file_store.FileStore": lambda w: FileStore(w.folder / "store", namespace="secrecy", keys=[_FLEET_KEY]),
    "sharing.redis_store.RedisStore": lambda w: _redis_store(),
    "sharing.sealing.Sealer": lambda w: Sealer((w.secret,)),
    "sharing.redis_connection.Connection": lambda w: _redis_store()._connection.value,
    "sharing.redis_notices.Notices": lambda w: _redis_store().listen(lambda key, gen: None),
    "testing.memory_store.MemoryStore": lambda w: _memory_store(w),
    "sharing.store.Claim": lambda w: store.Claim("c", 1, login=w.secret),
    "sharing.store.Granted": lambda w: store.Granted(1, w.secret, False, 1),
    "sharing.store.Newer": lambda w: store.Newer(1, w.secret, 1, "f", w.secret, 1),
    "sharing.store.Renewal": lambda w: store.Renewal("c", 1, 1, taken=w.secret),
    "sharing.store.Restoration": lambda w: store.Restoration(1, 1, w.secret, 1, "f", w.secret),
    "sharing.store.Share": lambda w: store.Share("c", 1, 1, w.secret, 1, "f", w.secret),
    "sharing.records.Record": lambda w: Record(token=w.secret, refresh_token=w.secret, taken=w.secret),
    "machine.effects.Claim": lambda w: effects.Claim(1, 1.0, w.secret),
    "machine.effects.RenewLease": lambda w: effects.RenewLease(_lease(w)),
    "machine.effects.ShareToken": lambda w: effects.ShareToken(_lease(w), w.token, 1.0, 1.0, w.secret),
    "machine.effects.GiveUpLease": lambda w: effects.GiveUpLease(_lease(w), "intact"),
    "machine.effects.RestoreRecord": lambda w: effects.RestoreRecord(1, w.token, 1.0, 1.0, w.secret, w.secret),
    "machine.events.HeldLease": lambda w: _lease(w),
    "machine.events.ClaimGranted": lambda w: events.ClaimGranted(1, 1, 1.0, _lease(w)),
    "machine.events.TokenAdopted": lambda w: events.TokenAdopted(1, 1, 1.0, w.parsed, 1.0, 1, w.secret),
    "machine.events.TokenShared": lambda w: events.TokenShared(1, 1, login=w.secret),
    "machine.state.Sharing": lambda w: Sharing(
        unshared=effects.ShareToken(_lease(w), w.token, 1.0, 1.0, w.secret),
        rejected=w.secret,
        login=w.secret,
        left=_lease(w),
    ),
    "machine.effects.Discover": lambda w: effects.Discover(CONFIG),
    "machine.effects.VerifyResource": lambda w: effects.VerifyResource(CONFIG),
    "machine.effects.Fetch": lambda w: effects.Fetch(1, 1, effects.Redeem(CONFIG, w.secret)),
    "machine.effects.FullGrant": lambda w: effects.FullGrant(CONFIG, w.token),
    "machine.effects.Publish": lambda w: effects.Publish(w.token, 1.0),
    "machine.effects.Redeem": lambda w: effects.Redeem(CONFIG, w.secret),
    "machine.effects.Reply": lambda w: effects.Reply([w.waiter()], w.token),
    "machine.effects.Report": lambda w: effects.Report("request_failed", 1, {"error": str(w.refused)}),
    "machine.effects.Reject": lambda w: effects.Reject(w.token),
    "machine.effects.Withhold": lambda w: effects.Withhold(w.token),
    "machine.effects.Revoke": lambda w: effects.Revoke(1, CONFIG, (("access_token", w.secret),)),
    "machine.state.Attempt": lambda w: Attempt(1, 1, effects.Redeem(CONFIG, w.secret)),
    "machine.state.State": lambda w: w.cell.state,
    "machine.forecast.Plan": lambda w: Plan(w.auth, 60.0),
    "values.errors.ConfigError": lambda w: raised(lambda: ClientCredentials("", SECRET, extra={"otp": SECRET})),
    "values.errors.DiscoveryError": lambda w: raised(_bad_metadata),
    "reading.directory.ManagerNotRunning": lambda w: raised(lambda: TokenManager.get_token("nobody", timeout=0)),
    "values.errors.NoTokenError": lambda w: raised(lambda: TokenManager.get_token(w.name, timeout=0, min_validity=1e6)),
    "values.errors.SecretUnavailable": lambda w: raised(
        lambda: get_token(CONFIG, ClientCredentials("id", lambda: int(SECRET)), transport=_unreachable)
    ),
    "values.errors.TokenRequestError": lambda w: w.refused,
    "values.errors.IdentityProviderError": lambda w: raised(
        lambda: get_token(CONFIG, _assertion(), transport=lambda request: Response(400, {}, request.body))
    ),
    "http.responses.BadResponse": lambda w: raised(lambda: read_status_line(_incoming(f"{SECRET}\r\n"))),
    "http.responses.Incoming": lambda w: _incoming(SECRET),
    "http.responses.WholeResponse": lambda w: read_response(
        _incoming(f"HTTP/1.1 200 {SECRET}\r\nX-Echo: {SECRET}\r\nContent-Length: {len(SECRET)}\r\n\r\n{SECRET}"),
        max_body_bytes=99,
    ),
    "manager.workers.WorkerPool": lambda w: HTTP_WORKERS.value,
    "endpoints.token_endpoint.Sent": lambda w: Sent(
        0.0, 0.0, 0.1, w.sent, w.sent.all(), w.response, brought_nonce=False
    ),
    "endpoints.token_endpoint.TokenRequest": lambda w: TokenRequest(
        _unreachable, CONFIG, w.auth, w.secret, known=(w.secret,)
    ),
    "protocol.device_authorization.DeviceAuthorization": lambda w: DeviceAuthorization(
        {"device_code": SECRET, "user_code": SECRET, "verification_uri": "https://x"}, 1.0, 1.0
    ),
    "credentials.overlap.Overlap": lambda w: Overlap(SECRET, lambda: SECRET),
    "endpoints.custom.Custom": lambda w: _custom(),
    "endpoints.custom.FetchContext": lambda w: FetchContext(1.0, w.token, _unreachable, 1),
    "endpoints.custom.Call": lambda w: Call(_custom(), _unreachable, w.token, 1, 1.0, 1.0, w.waiter),
    "credentials.grants.DeviceCode": lambda w: DeviceCode(w.secret, ClientCredentials("id", SECRET)),
    "credentials.parameters.ExtraParameters": lambda w: w.auth.extra,
    "credentials.parameters.RequestHeaders": lambda w: w.auth.request_headers,
    "protocol.token_request.SentSecrets": lambda w: w.sent,
    "credentials.grants.JWTBearer": lambda w: JWTBearer(SECRET),
    "credentials.grants.TokenExchange": lambda w: TokenExchange(SECRET, actor_token=SECRET),
    "credentials.grants.IdentityAssertion": lambda w: _assertion(),
    "manager.identity_providers.IdentityProvider": lambda w: IdentityProvider(
        replace(w.actor._options, auth=_assertion()), _assertion()
    ),
    "manager.identity_providers.FirstStep": lambda w: FirstStep(
        IdentityProvider(replace(w.actor._options, auth=_assertion()), _assertion()),
        _assertion(),
        w.cell,
        effects.Fetch(1, 1, effects.FullGrant(CONFIG)),
        CONFIG,
        lambda at: None,
        lambda issuer, outcome, duration_s: None,
    ),
    "manager.log.EndedRequest": lambda w: EndedRequest(w.parsed, ()),
    "manager.issuers.Sending": lambda w: Sending(w.cell.issuer, lambda at: None),
    "machine.health.Health": lambda w: TokenManager.health(w.name),
    "manager.issuers.Discovery": lambda w: Discovery(),
    "manager.issuers.Circuit": lambda w: w.cell.issuer.circuit,
    "manager.issuers.Issuer": lambda w: w.cell.issuer,
    "manager.issuers.Subscriber": lambda w: Subscriber(w.cell, 1, 1),
    "manager.token_manager.TokenManager": lambda w: w.actor,
    "machine.events.FetchFailed": lambda w: FetchFailed(1, 1, 0.0, w.refused),
    "machine.events.FetchSucceeded": lambda w: FetchSucceeded(1, 1, 0.0, w.parsed),
    "machine.events.Wait": lambda w: Wait(w.waiter()),
    "machine.events.Accepted": lambda w: Accepted(ISSUER, w.secret),
    "machine.events.Refresh": lambda w: Refresh(w.waiter(), w.secret),
    "machine.events.Rejected": lambda w: Rejected(ISSUER, w.secret),
    "machine.events.Refusal": lambda w: Refusal(str(w.refused), w.refused),
    "machine.events.Replacing": lambda w: events.Replacing(1, w.cell.state, 1.0),
    "machine.events.OfTrial": lambda w: events.OfTrial(1, Refresh(w.waiter(), w.secret)),
    "machine.effects.ForTrial": lambda w: effects.ForTrial(1, effects.Publish(w.token, 1.0)),
    "machine.effects.TakeOver": lambda w: effects.TakeOver(1, revoke=(_revoke(w),)),
    "machine.effects.DropTrial": lambda w: effects.DropTrial(1, w.cell.state),
    "machine.state.Trial": lambda w: Trial(1, w.cell.state),
    "manager.options.Options": lambda w: w.actor._options,
    "pool.members.Key": lambda w: Key(SECRET),
    "pool.members.Settings": lambda w: _pool_settings(w),
    "pool.members.Table": lambda w: Table(_pool_settings(w), "pool"),
    "pool.members.KeyStart": lambda w: KeyStart(),
    "pool.members.Member": lambda w: Member(SECRET, "pool/1", w.actor._options),
    "pool.members.PoolFull": lambda w: raised(lambda: _refused_by_a_pool(PoolFull)),
    "pool.members.UnknownKey": lambda w: raised(lambda: _refused_by_a_pool(UnknownKey)),
    "pool.token_pool.PoolSource": lambda w: TokenPool.source("pool", SECRET),
    "pool.token_pool.TokenPool": lambda w: TokenPool(_pool_settings(w)),
    "manager.performer.Performer": lambda w: w.actor._own,
    "reading.cell.Candidate": lambda w: Candidate(w.cell, w.actor._options, 1.0),
    "credentials.keys.ClientCertificate": lambda w: CERTIFICATE,
    "credentials.dpop.DPoPKey": lambda w: DPoPKey(KEY),
    "secret_sources.github_actions.GitHubActionsToken": lambda w: GitHubActionsToken(
        transport=lambda request: w.response
    ),
    "credentials.keys.Signer": lambda w: PrivateKey(KEY).signer(),
    "secret_sources.metadata_servers.GoogleMetadataToken": lambda w: GoogleMetadataToken(
        "a", transport=lambda _: w.response
    ),
    "secret_sources.metadata_servers.AzureMetadataToken": lambda w: AzureMetadataToken(transport=lambda _: w.response),
    "secret_sources.spiffe.SpiffeJWT": lambda w: SpiffeJWT("a", socket="unix:///nowhere"),
    "secret_sources.workload_identity.WorkloadIdentity": lambda w: WorkloadIdentity("here", SecretCall(lambda: SECRET)),
    "secret_sources.manager_token.ManagerToken": lambda w: ManagerToken(w.name),
    "credentials.keys.PrivateKey": lambda w: PrivateKey(lambda: SECRET, password=SECRET),
    "secret_sources.signed_assertion.SignedAssertion": lambda w: SignedAssertion(
        KEY, issuer="i", audience="a", claims={"x": SECRET}
    ),
    "values.oidc_config.OIDCConfig": lambda w: CONFIG,
    "reading.cell.Cell": lambda w: w.cell,
    "reading.cell.Snapshot": lambda w: Snapshot(w.token, 1.0),
    "reading.waiters.Subscription": lambda w: w.subscription,
    "reading.waiters.TaskWaiter": lambda w: w.task_waiter(),
    "reading.waiters.ThreadWaiter": lambda w: w.waiter(),
    "sidecar.config.RunConfig": lambda w: w.config,
    "sidecar.fleet.Fleet": lambda w: w.fleet,
    "sidecar.asgi.Answer": lambda w: Answer(200, SECRET.encode()),
    "sidecar.asgi.Application": lambda w: w.application(),
    "sidecar.manager_tables.ManagerConfig": lambda w: w.config.managers["secrecy-run"],
    "sidecar.service.Service": lambda w: w.service,
    "sidecar.token_files.TokenFile": lambda w: TokenFile(w.folder / "token", 0o600, lambda: w.token),
    "manager.effect_handler.EffectHandler": lambda w: w.actor._own.effects,
    "manager.certificate_watch.CertificateWatch": lambda w: _watch(w),
    "manager.provider_requests.Incarnation": lambda w: w.actor._own.manager,
    "values.secrets.Secret": lambda w: w.secret,
    "values.secrets.SecretCall": lambda w: SecretCall(lambda: SECRET),
    "values.secrets.SecretFile": lambda w: SecretFile(w.folder / "secret"),
    "reading.token_source.TokenSource": lambda w: w.source,
    "streams.Renewal": lambda w: Renewal(w.token),
    "values.tokens.TokenResponse": lambda w: w.token,
    "values.tokens.ExtraMembers": lambda w: w.token.extra,
    "transport.Request": lambda w: w.request,
    "transport.Response": lambda w: w.response,
    "transport.NoAnswer": lambda w: raised(lambda: RequestsTransport()(w.request)),
    "transport.UnusableCertificate": lambda w: raised(
        lambda: RequestsTransport()(Request("POST", "https://127.0.0.1:9/", {}, b"", 1.0, CERTIFICATE))
    ),
    "values.tokens.ParsedToken": lambda w: w.parsed,
}
"""By class, below `oidc_actor`."""

VARIANTS: dict[str, Callable[[World], object]] = {
    "httpx's headers of one request": lambda w: httpx._OneRequest({}, Proof(SECRET)),
    "a client with a secret": lambda w: ClientCredentials("id", SECRET),
    "a client with an assertion": lambda w: ClientCredentials("id", client_assertion=SECRET),
    "a client with a DPoP key": lambda w: ClientCredentials("id", dpop=DPoPKey(KEY)),
    "a key in plain": lambda w: PrivateKey(KEY, password=SECRET),
    "a request with a secret in its address": lambda w: Request(
        "POST", f"{ISSUER}?{SECRET}", {"Authorization": SECRET}, SECRET.encode()
    ),
    "a child specification": lambda w: w.spec,
    "a child specification's options": lambda w: w.spec.kwargs,
    "a manager's ref": lambda w: w.cell.ref,
    "a supervisor's children": lambda w: Supervisor.which_children(w.supervisor),
    "a supervisor's tree": lambda w: Supervisor.tree(w.supervisor),
    "call credentials of gRPC": lambda w: grpc.metadata_call_credentials(grpc_adapter.OIDCAuth(w.name)),
}
"""Further instances, and what is not ours but made of ours."""

HOLDS_NONE: dict[str, str] = {
    "a public name, and connections": "adapters.certificates.Shown",
    "what a provider says of itself, before anything secret is sent to it": "values.errors.UnusableMetadata",
    "an answer's inner objects while it is read; none is kept": "protocol.response_fields.Pairs",
    "the first line of an answer; the phrase in it is read by nobody": "http.responses.StatusLine",
    "steps; what they are done to its subclasses have": "sharing.stepping.SteppingStore",
    "times, counts and rules": """values.clock.Skew sharing.records.Lease sharing.store.Occupied sharing.store.Lost
        sharing.store.Shared sharing.store.Overtaken sharing.store.Looked sharing.store.GiveUp protocol.token_response.Lifetime
        machine.failure_policy.RetryPolicy machine.effects.CancelTick
        adapters.challenges.Remedy adapters.challenges.Tries machine.forecast.Forecast machine.forecast.Worst
        cli.connection.Login
        machine.effects.CheckSecrets machine.effects.ScheduleTick machine.circuit_breaker.CircuitBreaker
        machine.events.Haste machine.circuit_breaker.Limits machine.state.Heard machine.invalidation.Verdict
        machine.state.Rules machine.state.Denial machine.state.Phase machine.effects.AskPermission
        manager.log.MeasuredRequest manager.log.BegunRequest
        manager.shared_store.Member metrics.instruments.Instrument metrics.readings.Bound
        metrics.readings.Look metrics.readings.Reading
        sidecar.listening.ServerConfig sidecar.fleet.Changes cli.doctor.TlsFacts cli.store_findings.DirectoryFacts""",
    "a message without content": """machine.events.Event machine.events.OfRequest
        machine.events.ResultReady machine.events.AskHealth machine.events.ClockJumped
    machine.events.FetchLost
        machine.events.FetchStarted
        machine.events.ForceRefresh machine.events.GetToken machine.events.Allowed machine.events.Denied
        pool.token_pool.Sweep machine.events.WaitersArrived machine.events.TrialWanted machine.events.TrialOverdue
        machine.events.CheckNow machine.events.ProbeFailed
        machine.events.BreakerClosed machine.events.SourceRenewed machine.events.SecretsChecked
        machine.events.CertificateRenewed
        machine.events.Started machine.events.Tick machine.events.LoginLost
        machine.events.RecordSeen machine.events.LeaseLost machine.events.LeaseRenewed machine.events.TokenOvertaken
        machine.events.ClaimOccupied machine.events.RecordNamed
        reading.waiters.Gone sidecar.token_files.Write""",
    "what is made is one of its subclasses": """adapters.authorization.Unprintable adapters.presenter.Authenticator
        adapters.httpx_flow.AuthFlow adapters.certificates.Transport adapters.certificates.AsyncTransport
        adapters.httpx_flow.OneRequest values.errors.OIDCActorError values.errors.ProviderError transport.TransportError
        credentials.credentials.Credentials values.secrets.Sealed values.secrets.SecretSource""",
    "public texts by contract": """values.resource_metadata.ResourceMetadata values.errors.StoreError sharing.redis_scripts.Script
        credentials.parameters.StepUp
        machine.events.ClaimFailed machine.events.ShareFailed machine.events.LookFailed
        values.secrets.FrozenMapping cli.findings.Finding sidecar.asgi.RequestHeaders
        sidecar.config_reader.ConfigReader""",
    "reads a manager's counts only": """metrics.otel.Instrumentation metrics.spans.Spans metrics.prometheus.Collector
        metrics.prometheus.MultiProcessWriter""",
    "sockets and what they are made by; no text passes through a field": """http.sockets.BoundedPool
        sidecar.connections.HTTPConnection sidecar.connections.Peers
        http.sockets.BoundedSocket http.sockets.BoundedTLSPool http.sockets.BoundedTLSSocket sidecar.service.HTTPServer""",
    "of an address scheme, host and port; what else it has is left out": "values.urls.Place",
    "names of files; a secret in an argument is refused": "cli.options.ConnectionOptions",
    "the address of an observer, in which a user and a password are refused": "cli.top.Address cli.top.NoAnswer",
    "the rehearsal: its own provider's tokens, and nothing of the user's but times": """cli.rehearsal.outages.Outage
        cli.rehearsal.outages.Played cli.rehearsal.set_up.Wanted cli.rehearsal.stage.Shape
        cli.rehearsal.stage.Draws cli.rehearsal.stage.Stage""",
    "the demonstration: its own provider's tokens, shown by fingerprint": """cli.demo.promises.Figures cli.demo.promises.Pace
        cli.demo.promises.Promise cli.demo.story.Readers cli.demo.story.Play cli.demo.view.View""",
    "the other side, for tests: it knows the secrets that it makes up, and sends the tokens": """
        testing.statements.Statements testing.trades.JWTBearer testing.trades.TokenExchange
        testing.certificates.Certificates testing.dpop.Proofs testing.dpop.ProofRefused
        testing.endpoints.Endpoints testing.fault_proxy.FaultProxy
        testing.authorization_server.Realm testing.authorization_server.TokenServer
        testing.listener.Listener testing.manual_clock.ManualClock testing.manual_clock.ManualTimer testing.script.Policy
        testing.port.KeptPort testing.provider.Provider testing.relay.Address testing.relay.Faults
        testing.relay.Relay testing.relay.RelayServer
        testing.script.Canned testing.script.Script testing.script.Treatment testing.accounts.Client
        testing.accounts.IssuedRefreshToken
        testing.accounts.Accounts testing.accounts.User testing.faults.FaultyAnswer
        testing.faults.Break testing.faults.Corrupt
        testing.faults.Delay testing.faults.Drip testing.faults.End testing.faults.Interim
        testing.faults.Send
        testing.faults.Truncate""",
}
"""Classes whose instances hold no secret, by the reason."""


def _store_asked(world: World) -> StoreAsked:
    (world.folder / "fleet-key").write_text(_FLEET_KEY)
    shared = Options(world.connection().auth, ISSUER)
    return asked_of(f"redis://user:{SECRET}@localhost/0", "secrecy", [world.folder / "fleet-key"], shared)


def _assertion() -> IdentityAssertion:
    client = ClientCredentials("idp-client", SECRET)
    return IdentityAssertion(SECRET, "id", SECRET, identity_provider=ISSUER, identity_client=client)


def _incoming(text: str) -> Incoming:
    return Incoming(io.BytesIO(text.encode()))


def _used(transport: RequestsTransport, request: Request) -> RequestsTransport:
    raised(lambda: transport(Request("POST", "http://127.0.0.1:1/", request.headers, request.body, 1.0)))
    return transport
