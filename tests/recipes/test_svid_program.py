"""The program with an X.509-SVID, against a provider and an API that bind tokens to certificates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from pasted import pasted
from pki import Authority
from threads import DEADLINE_S, eventually

from oidc_actor import TokenManager
from oidc_actor.manager.certificate_watch import LOOK_S
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.testing import Provider

SPIFFE_ID = "spiffe://example.org/billing"


@pytest.mark.usefixtures("stop_managers")
def test_a_renewed_svid_brings_a_new_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)

    def renew() -> None:
        for new, name in zip(authority.client("new", uri=SPIFFE_ID), ("svid.pem", "svid_key.pem"), strict=True):
            (tmp_path / name).write_bytes(new.read_bytes())

    renew()
    with Provider(tls=True, client_ca=authority.ca, token_lifetime_s=3600) as provider:
        provider.add_client("billing", None, certificate_uri=SPIFFE_ID)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(provider.ca_bundle))
        text = pasted("svid_program.py", provider, folder=f"/run/spiffe=>{tmp_path}")
        program = SimpleNamespace()
        exec(compile(text, "svid_program.py", "exec"), vars(program))
        first = TokenManager.get_access_token("ledger.token")
        renew()
        eventually(
            lambda: TokenManager.get_access_token("ledger.token") != first,
            "a token of the new certificate",
            deadline_s=LOOK_S + DEADLINE_S,
        )
        second = TokenManager.get_access_token("ledger.token")
        assert read_claims(first)["cnf"] != read_claims(second)["cnf"]
        answer = program.session.get(provider.resource_url, timeout=DEADLINE_S)
        assert (answer.status_code, answer.json()["cnf"]) == (200, dict(read_claims(second)["cnf"]))
        program.session.close()
    assert capsys.readouterr().out == "200\n"
