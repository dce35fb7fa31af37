import requests

from oidc_actor import ClientCertificate, ClientCredentials, TokenManager
from oidc_actor.adapters.requests import CertificateAdapter, OIDCAuth

SVID = ClientCertificate("/run/spiffe/svid.pem", "/run/spiffe/svid_key.pem")

TokenManager.start_link(
    name="ledger.token",
    issuer_url="https://auth.example.com",
    auth=ClientCredentials("billing", client_certificate=SVID),
)
session = requests.Session()
session.auth = OIDCAuth("ledger.token")
session.mount("https://", CertificateAdapter(SVID))
print(session.get("https://api.example.com", timeout=10).status_code)
