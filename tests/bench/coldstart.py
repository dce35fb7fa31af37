"""From nothing to the first token: one fresh process that imports, starts a manager and reads its token. The provider is another.

Counted is the processor time of the whole process, Python's own start and its end included, in turns with the same by others.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import provider
from figures import Figure, at_most, median_ratio

_OURS = """
from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
auth = ClientCredentials("id", "secret")
TokenManager.start_link(name="first", auth=auth, {given})
text = TokenManager.get_access_token("first", timeout=30)
"""

BARE, BARE_DISCOVERY = "requests.post", "requests.get and requests.post"
OURS, OURS_DISCOVERY = "oidc_actor, token endpoint", "oidc_actor, discovery"

PROGRAMS = {
    "python": "text = 'no token'",
    BARE: "import requests; text = requests.post(url, {'grant_type': 'client_credentials'}, auth=('id', 'secret'), timeout=30)"
    ".json()['access_token']",
    OURS: _OURS.format(given="oidc_config=OIDCConfig(token_endpoint=url)"),
    BARE_DISCOVERY: "import requests; found = requests.get(issuer + '/.well-known/openid-configuration', timeout=30).json()\n"
    "text = requests.post(found['token_endpoint'], {'grant_type': 'client_credentials'}, auth=('id', 'secret'), timeout=30)"
    ".json()['access_token']",
    OURS_DISCOVERY: _OURS.format(given="issuer_url=issuer"),
    "google-auth": "from google.oauth2.credentials import Credentials\nfrom google.auth.transport.requests import Request\n"
    "one = Credentials(None, refresh_token='r', token_uri=url, client_id='id', client_secret='secret')\n"
    "one.refresh(Request()); text = one.token",
    "Authlib": "from authlib.integrations.requests_client import OAuth2Session\n"
    "text = OAuth2Session('id', 'secret').fetch_token(url, grant_type='client_credentials')['access_token']",
    "requests-oauth2client": "from requests_oauth2client import OAuth2Client\n"
    "text = OAuth2Client(url, client_id='id', client_secret='secret', testing=True).client_credentials().access_token",
}


def run(*, quick: bool) -> list[Figure]:
    """Run each in turns."""
    cpu: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    wall: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as cache, provider.running() as endpoint:
        # All compiled, as installed packages are.
        known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = known | {"PYTHONPYCACHEPREFIX": cache, "AUTHLIB_INSECURE_TRANSPORT": "1"}
        for turn in range(6 if quick else 21):
            for name, program in PROGRAMS.items():
                costs = _cost(program, endpoint, environment)
                if costs is None:
                    cpu.pop(name, None)
                elif turn and name in cpu:  # the first compiles
                    cpu[name].append(costs[0])
                    wall[name].append(costs[1])
    figures = []
    for name, found in cpu.items():
        bare = BARE_DISCOVERY if name == OURS_DISCOVERY else BARE
        for what, values, others in ((name, found, cpu[bare]), (f"{name}, wall", wall[name], wall[bare])):
            ratio = median_ratio(values, others)
            goal = at_most(1.4, ratio) if what in (OURS, OURS_DISCOVERY) else {}
            figures.append(Figure("coldstart", what, statistics.median(values), "ms", ratio, bare, **goal))
    return figures


def _cost(program: str, endpoint: provider.Endpoint, environment: Mapping[str, str]) -> tuple[float, float] | None:
    """Milliseconds of processor time, and of the clock; ``None`` where a library is missing."""
    told = f"url, issuer = {endpoint.token('cold')!r}, {endpoint.origin!r}\n{program}\nassert len(text) > 7"
    used, began = _used(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", told], check=False, env=environment, stderr=subprocess.PIPE, text=True)
    wall_s, cpu_s = time.perf_counter() - began, _used() - used
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    return cpu_s * 1e3, wall_s * 1e3


def _used() -> float:
    """Seconds of processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
