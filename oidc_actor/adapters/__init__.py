"""The token where it is needed: one small module for each client library, all with the same semantics.

===============================  ===============================================================================
module                           what a program writes
===============================  ===============================================================================
`oidc_actor.adapters.requests`   ``session.auth = OIDCAuth("name")``
`oidc_actor.adapters.httpx`      ``httpx.Client(auth=OIDCAuth("name"))``, ``httpx.AsyncClient(auth=OIDCAuth("name"))``
`oidc_actor.adapters.httpx2`     the same, for its successor httpx2
`oidc_actor.adapters.aiohttp`    ``aiohttp.ClientSession(middlewares=[OIDCAuth("name")])``
`oidc_actor.adapters.grpc`       ``grpc.metadata_call_credentials(OIDCAuth("name"))``, in `grpc.composite_channel_credentials`
`oidc_actor.adapters.grpc_retry` ``grpc.intercept_channel(channel, *interceptors("name"))``: what call credentials cannot do
`oidc_actor.adapters.headers`    ``headers("name")``, ``await aheaders("name")``: for everything else
===============================  ===============================================================================

- Every request carries the manager's valid token as of its sending. Where there is none, it waits for one up to ``timeout``
  seconds and then raises `NoTokenError`; an async caller waits without blocking its event loop.
- The token goes to the origin that the caller names and never with a redirect to another one; over plain http only to this
  machine, unless ``allow_insecure_http=True``.
- A 401 about the token (`oidc_actor.adapters.challenges`) has that very token replaced, once for all who complain about it,
  and the request sent again, once, if its body is still at hand. Otherwise, and where no new token comes in time, the
  caller gets the 401. An origin that refuses the replacement too is believed: nothing is replaced for it again until it
  has accepted a token (`oidc_actor.adapters.complaints`).

Each module needs its library, which its extra of the same name brings; importing this package needs none.
"""
