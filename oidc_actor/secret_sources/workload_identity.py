"""`WorkloadIdentity`: finds the identity that the place gives to a program, and says what it found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from oidc_actor.credentials.parameters import read_text
from oidc_actor.secret_sources.github_actions import TOKEN_VARIABLE, URL_VARIABLE, GitHubActionsToken
from oidc_actor.secret_sources.metadata_servers import (
    AZURE_HEADER_VARIABLE,
    AZURE_URL_VARIABLE,
    GOOGLE_HOST_VARIABLE,
    AzureMetadataToken,
    GoogleMetadataToken,
)
from oidc_actor.secret_sources.spiffe import SOCKET_VARIABLE, SpiffeJWT
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretFile, SecretSource

FIRMWARE = Path("/sys/class/dmi/id")
"""Where Linux says who made the machine."""

_AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"


class _Place(NamedTuple):
    """A place: its name, the variables that are all set there, and the source of the identity for an audience."""

    name: str
    variables: tuple[str, ...]
    source: Callable[[str], SecretSource]


def _file(variable: str) -> Callable[[str], SecretSource]:
    return lambda _: SecretFile(os.environ[variable])  # the audience is that of whoever mounted it


_PLACES = (
    _Place("SPIFFE", (SOCKET_VARIABLE,), SpiffeJWT),
    _Place("GitHub Actions", (URL_VARIABLE, TOKEN_VARIABLE), GitHubActionsToken),
    _Place("Azure Kubernetes Service", ("AZURE_FEDERATED_TOKEN_FILE",), _file("AZURE_FEDERATED_TOKEN_FILE")),
    _Place("AWS (EKS)", ("AWS_WEB_IDENTITY_TOKEN_FILE",), _file("AWS_WEB_IDENTITY_TOKEN_FILE")),
    _Place("Azure App Service", (AZURE_URL_VARIABLE, AZURE_HEADER_VARIABLE), AzureMetadataToken),
    _Place("Google Cloud", (GOOGLE_HOST_VARIABLE,), GoogleMetadataToken),
    _Place("Google Cloud Run", ("K_SERVICE",), GoogleMetadataToken),
)
"""In the order in which they are looked for: what is nearest to the program first."""


class WorkloadIdentity(SecretSource):
    """The identity of this program, from where it runs; `detect` makes it.

    Attributes:
        found: Where it comes from, and what that was told by.
        source: The source itself, such as `GitHubActionsToken`.
    """

    __slots__ = ("found", "source")
    found: str
    source: SecretSource

    def __init__(self, found: str, source: SecretSource) -> None:
        """Keep what was found.

        Args:
            found: Where it comes from, and what that was told by.
            source: The source itself.
        """
        self.found, self.source = found, source

    @classmethod
    def detect(cls, audience: str) -> WorkloadIdentity:
        """Look at the variables of the environment, then at the machine's maker. Nothing is asked for.

        Args:
            audience: Whom the token is to name. Where the identity is a mounted file, whoever mounts it chooses that.

        Returns:
            A secret source, for ``client_assertion``, an assertion or a subject token. It is read for each request.

        Raises:
            ConfigError: Nothing was found, or the audience is no text.
        """
        read_text(audience, "audience")
        for place in _PLACES:
            if all(os.environ.get(name) for name in place.variables):
                told = f"{place.name} ({' and '.join(place.variables)})"
                return cls(told, place.source(audience))
        if "Google" in _firmware("product_name"):
            return cls("Google Compute Engine (the machine's product_name)", GoogleMetadataToken(audience))
        if _firmware("chassis_asset_tag") == _AZURE_TAG:
            return cls("an Azure virtual machine (the machine's chassis_asset_tag)", AzureMetadataToken(audience))
        looked = ", ".join(" with ".join(place.variables) for place in _PLACES)
        raise ConfigError(
            f"expected a place that gives programs an identity, found none: {looked} are not set, and the machine is neither "
            "Google's nor Azure's; name the source, such as SecretFile(...)",
            label="WorkloadIdentity",
        )

    def fetch(self) -> Secret | str:
        """Read it, or say why that cannot be done now, and where it was looked for."""
        found = self.source.fetch()
        return found if isinstance(found, Secret) else f"{self.found}: {found}"

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """The file that it is mounted as."""
        return self.source.files

    @property
    def assertion_type(self) -> str:
        """How it is called as ``client_assertion``."""
        return self.source.assertion_type

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkloadIdentity) and self.source == other.source

    def __hash__(self) -> int:
        return hash((WorkloadIdentity, self.source))

    def __repr__(self) -> str:
        return f"WorkloadIdentity({self.found!r})"


def _firmware(name: str) -> str:
    try:
        return (FIRMWARE / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
