"""Programs get tokens and web pages do not: Node's own fetch, curl, and the headers that browsers send, as they send them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pages
import pytest
from sidecar.sidecar import DEADLINE_S, Sidecar

from oidc_actor.testing import Provider

PATHS = ("/token/a", "/healthz", "/readyz", "/metrics")

FETCH = """
const [url, headers] = [process.argv[1], JSON.parse(process.argv[2])];
fetch(url, {headers}).then(async answer => console.log(answer.status + " " + await answer.text()));
"""

CHROME = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "sec-ch-ua": '"Chromium";v="130", "Not?A_Brand";v="99"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
}
FIREFOX = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.5",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Priority": "u=4",
}
SAFARI = {  # before 16.4 without any Sec-Fetch header
    "Accept": "*/*",
    "User-Agent": "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.6 Safari/605.1.15",
}
FETCHED = {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}

PAGES = {
    "chrome, fetch across sites": {
        **CHROME,
        **FETCHED,
        "Sec-Fetch-Site": "cross-site",
        "Origin": "https://evil.example",
        "Referer": "https://evil.example/",
    },
    "chrome, no-cors": {
        **CHROME,
        "Sec-Fetch-Dest": "empty",
        "Sec-Fetch-Mode": "no-cors",
        "Sec-Fetch-Site": "cross-site",
    },
    "chrome, an image": {
        **CHROME,
        "Sec-Fetch-Dest": "image",
        "Sec-Fetch-Mode": "no-cors",
        "Sec-Fetch-Site": "cross-site",
    },
    "chrome, another port of this machine": {
        **CHROME,
        **FETCHED,
        "Sec-Fetch-Site": "same-site",
        "Origin": "http://127.0.0.1:3000",
    },
    "chrome, a rebound name that it takes for the same origin": {**CHROME, **FETCHED, "Sec-Fetch-Site": "same-origin"},
    "firefox, a sandboxed frame": {**FIREFOX, **FETCHED, "Sec-Fetch-Site": "cross-site", "Origin": "null"},
    "firefox, a navigation": {
        **FIREFOX,
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-User": "?1",
        "Upgrade-Insecure-Requests": "1",
    },
    "firefox, a download that a page began": {**FIREFOX, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "safari, fetch": {**SAFARI, "Origin": "https://evil.example"},
}
REBOUND = {  # what a browser sends once the page's own name is this machine's address; it sends no Origin then
    "chrome": {**CHROME, **FETCHED, "Sec-Fetch-Site": "same-origin"},
    "safari": SAFARI,
}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory) -> Iterator[Sidecar]:
    directory = tmp_path_factory.mktemp("sidecar")
    with Provider(token_lifetime_s=600) as provider:
        (directory / "config.toml").write_text(
            f'[server]\nunix_socket = "tokens.sock"\ntcp = "127.0.0.1:0"\n[managers.a]\nissuer_url = "{provider.issuer_url}"\n'
            f'client_id = "{provider.client_id}"\nclient_secret = {{ env = "THE_SECRET" }}\n'
        )
        with Sidecar(directory, THE_SECRET=provider.client_secret) as running:
            assert running.get("/token/a").token
            yield running


def programs_output(*arguments: object) -> str:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(("headers", "status"), [('{"X-OIDC-Actor": "1"}', 200), ("{}", 403)])
def test_nodes_own_fetch(sidecar, headers: str, status: int) -> None:
    answer = programs_output("node", "-e", FETCH, f"http://127.0.0.1:{sidecar.tcp_port}/token/a", headers)
    assert answer.startswith(f"{status} ")
    assert (sidecar.get("/token/a").token in answer) is (status == 200)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_nodes_own_fetch_cannot_be_told_to_be_a_page_unnoticed(sidecar) -> None:
    for headers in ('{"X-OIDC-Actor": "1", "Origin": "null"}', '{"X-OIDC-Actor": "1", "Sec-Fetch-Site": "cross-site"}'):
        assert programs_output("node", "-e", FETCH, f"http://127.0.0.1:{sidecar.tcp_port}/token/a", headers).startswith(
            "403 "
        )


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("path", PATHS)
def test_curl(sidecar, path: str) -> None:
    text = ("-H", "Accept: text/plain") if path.startswith("/token") else ()
    by_socket = programs_output("curl", "-sf", "--unix-socket", sidecar.socket, *text, f"http://x{path}")
    url = f"http://localhost:{sidecar.tcp_port}{path}"
    by_tcp = programs_output("curl", "-sf", "-4", *text, "-H", "X-OIDC-Actor: 1", url)
    if path.startswith("/token"):
        assert by_socket == by_tcp == sidecar.get("/token/a").token
    assert by_socket
    assert by_tcp


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_as_the_page_has_it(sidecar) -> None:
    (block,) = [one for one in pages.blocks("oidc_actor/sidecar/README.md") if one.text.startswith("curl ")]
    commands = block.text.splitlines()
    assert len(commands) == 2
    for command in commands:
        for written, here in (
            ("/run/oidc-actor/tokens.sock", sidecar.socket),
            ("127.0.0.1:8391", f"127.0.0.1:{sidecar.tcp_port}"),
            ("/token/billing", "/token/a"),
        ):
            command = command.replace(written, str(here))
        assert programs_output(*shlex.split(command)) == sidecar.get("/token/a").token


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_that_posts(sidecar) -> None:
    """A body is not wanted; a small one is read, so that the answer arrives, and `Expect: 100-continue` costs nothing."""
    for body in ("x", "x" * 5000):
        code = programs_output(
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--unix-socket",
            sidecar.socket,
            "-d",
            body,
            "http://x/token/a",
        )
        assert code == "405"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_gets_nothing(sidecar, page: str, path: str) -> None:
    for more in ({}, {"X-OIDC-Actor": "1"}):
        headers = {**PAGES[page], **more}
        by_tcp = sidecar.get_tcp(path, {"Host": f"127.0.0.1:{sidecar.tcp_port}", **headers})
        by_socket = sidecar.get(path, **headers)
        assert (by_tcp.status, by_socket.status) == (403, 403)
        assert not [name for name in by_tcp.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("page", REBOUND)
@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_was_rebound_to_this_machine_gets_nothing(sidecar, page: str, path: str) -> None:
    for host in (f"evil.example:{sidecar.tcp_port}", f"127.0.0.1.evil.example:{sidecar.tcp_port}", "0.0.0.0"):
        reply = sidecar.get_tcp(path, {"Host": host, **REBOUND[page], "X-OIDC-Actor": "1"})
        assert reply.status == 403


def test_a_forged_request_of_a_browser_without_fetch_metadata_gets_no_token(sidecar) -> None:
    assert sidecar.get_tcp("/token/a", {"Host": f"127.0.0.1:{sidecar.tcp_port}", **SAFARI}).status == 403
