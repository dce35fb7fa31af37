"""What stands in a configuration, and the problems that are found in it."""

from __future__ import annotations

import pytest

from oidc_actor import ConfigError


def problems(read, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    first, *rest = str(caught.value).splitlines()
    assert first.endswith(f"config.toml: {len(rest)} problem{'s' if len(rest) != 1 else ''}")
    return [line.strip() for line in rest]


def manager(*lines: str) -> str:
    return "\n".join(['[server]\nunix_socket = "s"', "[managers.m]", *lines])


FULL = ('issuer_url = "https://auth.example.com"', 'client_id = "id"', 'client_secret = { file = "f" }')
URL = 'issuer_url = "https://auth.example.com"'
CLIENT = (URL, 'client_id = "id"')
OTHER = '[managers.other]\nissuer_url = "https://auth.example.com"\nclient_id = "id"\n'
EXCHANGE = (URL, 'grant = "token_exchange"')


def auth_of(read, *lines: str):
    return read("\n".join([manager(*lines), OTHER])).managers["m"].options["auth"]


def mistakes(read, *lines: str) -> list[str]:
    return [one.removeprefix("managers.m.") for one in problems(read, "\n".join([manager(*lines), OTHER]))]
