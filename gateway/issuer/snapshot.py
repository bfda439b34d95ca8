"""Build everything the issuer needs from one configuration, once. Pure.

Documents are rendered here with their entity tags, so that serving one is a lookup.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from gateway.clients.decoys import read_decoys
from gateway.clients.registry import Registry
from gateway.issuer.endpoints import Endpoint, issuer_endpoints
from gateway.issuer.metadata import openid_metadata, server_metadata
from gateway.settings.model import IssuerSettings, Rate, Settings
from gateway.tokens.jwt import largest_token_bytes
from gateway.tokens.key_ring import KeyRing
from gateway.tokens.key_sets import KeySet


@dataclass(frozen=True, slots=True)
class Document:
    """One published JSON document."""

    body: bytes = field(repr=False)
    etag: str
    """A strong entity tag, quotes included."""


@dataclass(frozen=True, slots=True, eq=False)
class IssuerSnapshot:
    """One configuration as the issuer sees it. Compared by identity."""

    issuer: IssuerSettings
    registry: Registry
    keys: KeyRing
    endpoints: Mapping[str, Endpoint]
    """By exact path."""
    jwks: Document
    server_metadata: Document
    openid_metadata: Document
    auth_failures: Rate
    """How often a peer may be wrong about one client's secret."""
    largest_token_bytes: int
    """What the gate takes: a larger token is not issued."""
    decoys: KeySet = field(default_factory=read_decoys, repr=False)
    """Verify nothing, so that an unknown client costs what a wrong signature costs."""

    def with_keys(self, keys: KeyRing, settings: Settings) -> "IssuerSnapshot":
        """Return the same configuration with other keys."""
        return replace(
            self,
            keys=keys,
            jwks=_render(keys.jwks_document()),
            openid_metadata=_render(openid_metadata(settings, self.registry, keys)),
        )


def build_issuer_snapshot(settings: Settings, registry: Registry, keys: KeyRing) -> IssuerSnapshot:
    """Return the issuer's view of `settings`; `registry` was compiled from the same settings."""
    return IssuerSnapshot(
        issuer=settings.issuer,
        registry=registry,
        keys=keys,
        endpoints=issuer_endpoints(settings),
        jwks=_render(keys.jwks_document()),
        server_metadata=_render(server_metadata(settings, registry)),
        openid_metadata=_render(openid_metadata(settings, registry, keys)),
        auth_failures=settings.limits.auth_failures,
        largest_token_bytes=largest_token_bytes(settings.limits.header_bytes),
    )


def _render(document: object) -> Document:
    body = msgspec.json.encode(document)
    return Document(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
