"""A client's certificate that is renewed in place: one look at its files serves all managers that show it (RFC 8705)."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedTransport
from managers import Start, settled
from threads import eventually

from oidc_actor import ClientCertificate, ClientCredentials, SecretFile, TokenManager
from oidc_actor.manager.certificate_watch import LOOK_S, CertificateWatch, watch_of
from oidc_actor.testing import ManualClock
from supervision import kill

NAMES = [f"client {number}" for number in range(4)]


class Files:
    """The certificate, and how often its files were looked at."""

    def __init__(self, folder: Path) -> None:
        self.certificate = ClientCertificate(folder / "cert.pem", folder / "key.pem")
        self.paths = [file.path for file in self.certificate.sources]
        self.looks: Counter[Path] = Counter()
        self._sizes = itertools.count(1)
        self.renew()

    def renew(self) -> None:
        for path in self.paths:
            path.write_text("x" * next(self._sizes))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    made, version = Files(tmp_path), SecretFile.version

    def counted(file: SecretFile) -> Any:
        made.looks[file.path] += 1
        return version(file)

    monkeypatch.setattr(SecretFile, "version", counted)
    return made


def auth_of(name: str, files: Files) -> ClientCredentials:
    return ClientCredentials(name, client_certificate=files.certificate)


@pytest.fixture
def shown(start: Start, files: Files) -> dict[str, str]:
    """Managers that show the certificate, and the tokens that they have of it."""
    for name in NAMES:
        start(name=name, auth=auth_of(name, files))
    tokens = {name: TokenManager.get_access_token(name) for name in NAMES}
    settled(*NAMES)
    files.looks.clear()
    return tokens


def look(clock: ManualClock, *watches: CertificateWatch) -> None:
    """Let the time to the next look pass, and wait for its end."""
    clock.advance(LOOK_S)
    eventually(lambda: all(one.looked_at == clock() for one in watches), "a look at the files")


def test_one_look_serves_all(shown: dict[str, str], files: Files, clock: ManualClock) -> None:
    watch = watch_of(files.certificate, clock)
    for looks in (1, 2):
        look(clock, watch)
        assert files.looks == dict.fromkeys(files.paths, looks)
    assert {name: TokenManager.get_access_token(name) for name in NAMES} == shown
    files.renew()
    look(clock, watch)
    for name in NAMES:
        eventually(lambda: TokenManager.get_access_token(name) != shown[name])  # noqa: B023
    settled(*NAMES)
    after = {name: TokenManager.get_access_token(name) for name in NAMES}
    look(clock, watch)
    settled(*NAMES)
    assert {name: TokenManager.get_access_token(name) for name in NAMES} == after


def test_one_whose_request_was_under_way_is_told_at_the_next_look(
    shown: dict[str, str], files: Files, clock: ManualClock, transport: ScriptedTransport
) -> None:
    watch, late = watch_of(files.certificate, clock), NAMES[0]
    with transport.held_back():
        TokenManager.force_refresh(late)
        clock.advance(1)
        transport.wait_for_posts(len(NAMES) + 1)
        files.renew()
        look(clock, watch)
    settled(*NAMES)
    of_former = TokenManager.get_access_token(late)
    assert of_former != shown[late]
    look(clock, watch)
    eventually(lambda: TokenManager.get_access_token(late) != of_former, "the token of the new certificate")


def test_half_a_renewal_is_none(
    shown: dict[str, str], files: Files, clock: ManualClock, transport: ScriptedTransport
) -> None:
    watch = watch_of(files.certificate, clock)
    files.paths[1].unlink()
    look(clock, watch)
    settled(*NAMES)
    assert len(transport.posts) == len(NAMES)


def test_other_options_and_a_killed_incarnation_are_told_no_more(
    shown: dict[str, str], files: Files, clock: ManualClock, start: Start, transport: ScriptedTransport
) -> None:
    other, killed = NAMES[:2]
    TokenManager.replace(other, issuer_url=transport.issuer, auth=ClientCredentials(other, "s"), transport=transport)
    kill(killed)
    start(name=killed, auth=auth_of(killed, files))
    settled(*NAMES)
    before = {name: TokenManager.get_access_token(name) for name in NAMES}
    assert before[killed] == shown[killed]
    files.renew()
    look(clock, watch_of(files.certificate, clock))
    for name in NAMES[1:]:
        eventually(lambda: TokenManager.get_access_token(name) != before[name])  # noqa: B023
    settled(*NAMES)
    assert TokenManager.get_access_token(other) == before[other]
    assert len(transport.posts) == len(NAMES) + 1 + len(NAMES[1:])


def test_it_ends_with_the_last_of_them_and_begins_again(
    shown: dict[str, str], files: Files, clock: ManualClock, start: Start
) -> None:
    watch = watch_of(files.certificate, clock)
    for name in NAMES:
        assert watch.is_running
        TokenManager.stop(name)
    eventually(lambda: not watch.is_running, "the end of the watch")
    start(name="next", auth=auth_of("next", files))
    first = TokenManager.get_access_token("next")
    settled("next")
    files.renew()
    look(clock, watch)
    eventually(lambda: TokenManager.get_access_token("next") != first)
