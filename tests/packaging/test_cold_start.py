"""What a fresh process loads until it has its first token: each library more is paid by every start of a program."""

import json
import os
import subprocess
import sys

from oidc_actor.testing import Provider

PROGRAM = """
import json, sys
before = set(sys.modules)
from oidc_actor import ClientCredentials, TokenManager
url, secret = sys.argv[1:3]
imported = set(sys.modules) - before
TokenManager.start_link(name="a", issuer_url=url, auth=ClientCredentials("test-client", secret))
TokenManager.get_access_token("a", timeout=20)
with_token = set(sys.modules) - before
modules = set(sys.modules)
TokenManager.get_access_token("a")
TokenManager.source("a")()
TokenManager.health("a")
assert set(sys.modules) == modules
TokenManager.stop("a")
unused = {*sys.argv[3:]} & set(sys.modules)
assert not unused, unused
print(json.dumps([sorted({one.split(".")[0] for one in found}) for found in (imported, with_token)]))
"""


def run(program: str, *arguments: str) -> str:
    """Run a program where no proxy is named, and give what it prints."""
    known = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    words = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=known)
    assert done.returncode == 0, done.stderr
    return done.stdout


OURS = {"oidc_actor", "supervision", "pykka"}

OF_OTHERS = (
    "difflib",  # for the message about a mistyped option
    "html",  # for an error's text with a named entity
    "oidc_actor.endpoints.custom",
    "oidc_actor.manager.identity_providers",
    "oidc_actor.manager.shared_store",
    "oidc_actor.sharing.store",
    "supervision.child_process",
    "supervision.supervising",
    "supervision.tree",
)
"""What a manager without a supervisor, a store and a function of the user's never loads, be it started, read or stopped."""


def test_a_first_token_needs_pykka_and_urllib3_and_no_library_more(oidc_provider: Provider) -> None:
    shown = run(PROGRAM, oidc_provider.issuer_url, oidc_provider.client_secret, *OF_OTHERS)
    imported, with_token = (set(one) - set(sys.stdlib_module_names) for one in json.loads(shown))
    loaded_by_python = {"sitecustomize", "org", "_distutils_hack"}
    assert imported - loaded_by_python == OURS
    decoders = {"_brotli", "backports", "brotli", "brotlicffi", "zstandard"}  # which urllib3 takes where they are
    assert with_token - loaded_by_python - decoders == OURS | {"certifi", "urllib3"}


def test_nothing_loads_what_a_program_may_never_use() -> None:
    program = (
        "import sys; from oidc_actor import TokenManager; import oidc_actor.http.client; "
        "assert not {'asyncio', 'requests', 'structlog', 'joserfc', 'cryptography', 'trio', 'unittest'} & set(sys.modules)"
    )
    run(program)
