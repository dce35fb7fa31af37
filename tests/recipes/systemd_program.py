"""A daemon under systemd (`Type=notify`): a credential of the unit is its secret, SIGTERM ends it."""

import os
import signal
import socket

from oidc_actor import ClientCredentials, SecretFile, TokenManager
from supervision import Supervisor

# Before any thread starts, so that no thread but the main one takes these signals.
ENDS = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDS, signal.SIGHUP})


def tell_systemd(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


supervisor = Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="billing.token",
            issuer_url=os.environ["OIDC_ISSUER_URL"],
            auth=ClientCredentials(
                os.environ["OIDC_CLIENT_ID"], SecretFile(os.environ["CREDENTIALS_DIRECTORY"] + "/client-secret")
            ),
        )
        # ... and your own actors
    ]
)
tell_systemd("READY=1")  # at once: the program is up, whether the provider is or not
while signal.sigwait({*ENDS, signal.SIGHUP}) == signal.SIGHUP:
    TokenManager.force_refresh("billing.token")  # `systemctl reload`: a new token, with the secret as it is now
tell_systemd("STOPPING=1")
Supervisor.stop(supervisor, timeout=5)
