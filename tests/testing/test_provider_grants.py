"""The embedded provider is a real authorization server: what each grant gives and refuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from oidc_actor.testing import Provider

Ask = Callable[..., requests.Response]


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=10)


def login(provider: Provider, ask: Ask, **form: str) -> dict[str, str]:
    answer = ask("password", username=provider.username, password=provider.password, **form)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_discovery_names_itself_and_its_endpoints(provider: Provider) -> None:
    document = get(f"{provider.issuer_url}/.well-known/openid-configuration").json()
    assert document["issuer"] == provider.issuer_url
    assert document["token_endpoint"] == provider.token_endpoint
    assert {"client_credentials", "password", "refresh_token"} <= set(document["grant_types_supported"])
    assert document["token_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    assert provider.discovery_requests == 1


def test_client_credentials_gives_a_signed_token_without_refresh_token(provider: Provider, ask: Ask) -> None:
    answer = ask(scope="read write")
    token = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 10, "read write")
    assert "refresh_token" not in token
    keys = KeySet.import_key_set(get(f"{provider.issuer_url}/jwks").json())
    decoded = jwt.decode(token["access_token"], keys, algorithms=["ES256"])
    assert decoded.header["typ"] == "at+jwt"
    assert decoded.claims["iss"] == provider.issuer_url
    assert decoded.claims["exp"] - decoded.claims["iat"] == pytest.approx(10)


def test_the_published_key_is_public_only(provider: Provider) -> None:
    (key,) = get(f"{provider.issuer_url}/jwks").json()["keys"]
    assert "d" not in key
    assert key["kid"]


def test_client_secret_post_is_accepted_too(provider: Provider, ask: Ask) -> None:
    answer = ask(auth=None, client_id=provider.client_id, client_secret=provider.client_secret)
    assert answer.status_code == 200


@pytest.mark.parametrize("via", ["basic", "post"])
def test_a_wrong_secret_is_invalid_client(provider: Provider, ask: Ask, via: str) -> None:
    if via == "basic":
        answer = ask(auth=(provider.client_id, "wrong"))
    else:
        answer = ask(auth=None, client_id=provider.client_id, client_secret="wrong")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_method_the_client_may_not_use_is_invalid_client() -> None:
    with Provider(client_auth_methods=["client_secret_post"]) as provider:
        form = {"grant_type": "client_credentials"}
        auth = (provider.client_id, provider.client_secret)
        answer = requests.post(provider.token_endpoint, data=form, auth=auth, timeout=10)
        assert answer.json()["error"] == "invalid_client"


def test_a_public_client_has_passwords_but_no_client_credentials(provider: Provider, ask: Ask) -> None:
    provider.add_client("public", None)
    provider.add_user("ann", "s3cret")
    refused = ask(auth=None, client_id="public")
    given = ask("password", auth=None, client_id="public", username="ann", password="s3cret")
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
    assert given.status_code == 200


def test_a_changed_secret_counts_at_once(provider: Provider, ask: Ask) -> None:
    old = provider.client_secret
    provider.client_secret = "rotated"
    assert ask(auth=(provider.client_id, old)).status_code == 401
    assert ask().status_code == 200


def test_special_characters_in_id_and_secret_survive_basic(provider: Provider, ask: Ask) -> None:
    provider.add_client("a:b c", "p%+ü:")
    assert ask(auth=("a%3Ab%20c", "p%25%2B%C3%BC%3A")).status_code == 200


def test_password_grant_and_its_refusal(provider: Provider, ask: Ask) -> None:
    assert login(provider, ask)["refresh_token"]
    refused = ask("password", username=provider.username, password="wrong")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_rotation_spends_each_refresh_token(provider: Provider, ask: Ask) -> None:
    first = login(provider, ask, scope="read")
    second = ask("refresh_token", refresh_token=first["refresh_token"]).json()
    third = ask("refresh_token", refresh_token=second["refresh_token"]).json()
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    assert len({first["access_token"], second["access_token"], third["access_token"]}) == 3
    assert third["scope"] == "read"
    assert provider.refresh_tokens_reused == 0


def test_a_reused_refresh_token_ends_its_family_and_no_other(provider: Provider, ask: Ask) -> None:
    first, other = login(provider, ask), login(provider, ask)
    second = ask("refresh_token", refresh_token=first["refresh_token"]).json()
    assert ask("refresh_token", refresh_token=first["refresh_token"]).json()["error"] == "invalid_grant"
    assert ask("refresh_token", refresh_token=second["refresh_token"]).json()["error"] == "invalid_grant"
    assert ask("refresh_token", refresh_token=other["refresh_token"]).status_code == 200
    assert provider.refresh_tokens_reused == 1


def test_without_reuse_detection_the_family_lives_on(provider: Provider, ask: Ask) -> None:
    provider.reuse_detection = False
    first = login(provider, ask)
    second = ask("refresh_token", refresh_token=first["refresh_token"]).json()
    assert ask("refresh_token", refresh_token=first["refresh_token"]).status_code == 400
    assert ask("refresh_token", refresh_token=second["refresh_token"]).status_code == 200


def test_of_many_at_once_only_one_redeems(provider: Provider, ask: Ask) -> None:
    token = login(provider, ask)["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask("refresh_token", refresh_token=token).status_code, range(8)))
    assert sorted(answers) == [200] + [400] * 7
    assert provider.refresh_tokens_reused == 7


def test_without_rotation_the_refresh_token_stays_and_no_new_one_comes(provider: Provider, ask: Ask) -> None:
    provider.rotation = False
    token = login(provider, ask)["refresh_token"]
    answers = [ask("refresh_token", refresh_token=token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert not any("refresh_token" in answer.json() for answer in answers)


def test_a_refresh_token_of_another_client_is_refused(provider: Provider, ask: Ask) -> None:
    provider.add_client("other", "secret")
    token = login(provider, ask)["refresh_token"]
    assert ask("refresh_token", refresh_token=token, auth=("other", "secret")).json()["error"] == "invalid_grant"


def test_a_refresh_may_narrow_the_scope_but_not_widen_it(provider: Provider, ask: Ask) -> None:
    token = login(provider, ask, scope="read write")["refresh_token"]
    assert ask("refresh_token", refresh_token=token, scope="admin").json()["error"] == "invalid_scope"
    assert ask("refresh_token", refresh_token=token, scope="read").json()["scope"] == "read"


def test_revoked_refresh_tokens_are_invalid_grant(provider: Provider, ask: Ask) -> None:
    token = login(provider, ask)["refresh_token"]
    provider.revoke_refresh_tokens()
    assert ask("refresh_token", refresh_token=token).json()["error"] == "invalid_grant"


def test_unknown_scope_and_unknown_grant() -> None:
    with Provider(scopes=["read"]) as provider:
        auth = (provider.client_id, provider.client_secret)
        forms = {"invalid_scope": {"grant_type": "client_credentials", "scope": "write"}}
        forms["unsupported_grant_type"] = {"grant_type": "magic"}
        for error, form in forms.items():
            answer = requests.post(provider.token_endpoint, data=form, auth=auth, timeout=10)
            assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_audience_asked_for_is_the_audience_given(provider: Provider, ask: Ask) -> None:
    token = ask(audience="https://api.example").json()["access_token"]
    claims = get(provider.resource_url, Authorization=f"Bearer {token}").json()
    assert claims["aud"] == ["https://api.example"]


def test_the_resource_accepts_live_tokens_only(provider: Provider, ask: Ask) -> None:
    live = ask().json()["access_token"]
    provider.clock_skew_s = -60  # made a minute ago by the provider's own clock, so it is over when the clock is right
    dead = ask().json()["access_token"]
    provider.clock_skew_s = 0
    header, payload, signature = live.split(".")
    forged = f"{header}.{payload}.{signature[::-1]}"
    assert get(provider.resource_url, Authorization=f"Bearer {live}").status_code == 200
    for text in (f"Bearer {dead}", f"Bearer {forged}", "Bearer x", "Basic x", ""):
        refused = get(provider.resource_url, Authorization=text)
        assert refused.status_code == 401
        assert "invalid_token" in refused.headers["WWW-Authenticate"]


def test_a_token_of_another_provider_is_refused(provider: Provider, ask: Ask) -> None:
    with Provider() as other:
        token = ask().json()["access_token"]
        assert get(other.resource_url, Authorization=f"Bearer {token}").status_code == 401


def test_fractions_of_a_second_are_kept(provider: Provider, ask: Ask) -> None:
    provider.token_lifetime_s = 0.25
    token = ask().json()
    claims = get(provider.resource_url, Authorization=f"Bearer {token['access_token']}").json()
    assert token["expires_in"] == 0.25
    assert claims["exp"] - claims["iat"] == pytest.approx(0.25)


def test_no_secret_and_no_token_in_the_logs(
    provider: Provider, ask: Ask, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="authlib"), caplog.at_level(logging.DEBUG, logger="oidc_actor"):
        token = login(provider, ask)
        renewed = ask("refresh_token", refresh_token=token["refresh_token"]).json()
        ask(auth=(provider.client_id, "wrong-secret"))
    assert "Issue token" in caplog.text  # Authlib did log, so the rest of this test means something
    printed = caplog.text + "".join(capfd.readouterr())
    secrets = [provider.client_secret, provider.password, "wrong-secret"]
    secrets += [answer[key] for answer in (token, renewed) for key in ("access_token", "refresh_token")]
    assert not [secret for secret in secrets if secret in printed]
    assert not [secret for secret in secrets if secret in repr(provider)]


def test_what_a_certificate_needs_is_said(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs Provider\(client_ca"):
        provider.add_client("billing", None, certificate_uri="spiffe://example.org/billing")
    absent = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match=rf"client_ca must be .*{absent.name}.*No such file"):
        Provider(tls=True, client_ca=absent).start()
