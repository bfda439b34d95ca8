"""Make enforcers that share a token cache, revocations and keys, as snapshots of one process do."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from jwcrypto.jwk import JWK

from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.location import SERVES_GATE, SERVES_ISSUER
from gateway.enforce.token_cache import TokenCache
from gateway.policy.compile import compile_routes
from gateway.policy.model import AudienceGrant, ClientGrants, Grants
from gateway.settings.model import Access, Mode, RequireSettings, RouteSettings
from gateway.tokens.key_ring import KeyRing, SigningKey, make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from gateway.tokens.revocations import Revocations
from gateway.tokens.signing import sign_compact

NOW = 1_700_000_000.0
ISSUER = "https://issuer.example"
BOTH = SERVES_ISSUER | SERVES_GATE

READ = RequireSettings(audiences=frozenset({"countries"}), scopes=frozenset({"read"}))
ROUTES = (
    RouteSettings("read", "/read/{x}", "up", methods=frozenset({"GET"}), require=READ),
    RouteSettings("open", "/open/**", "up", access=Access.PUBLIC),
    RouteSettings("either", "/either", "up", access=Access.OPTIONAL, require=READ),
    RouteSettings("shadow", "/shadow", "up", mode=Mode.SHADOW, require=READ),
    RouteSettings(
        "acme",
        "/acme",
        "up",
        require=RequireSettings(audiences=frozenset({"countries"}), claims={"tenant": ("acme",)}),
    ),
)


def grants(
    *, scopes: Iterable[str] = ("read",), until: float | None = None, disabled: bool = False
) -> Grants:
    return {"reader": ClientGrants(disabled, {"countries": AudienceGrant(frozenset(scopes), until)})}


def ring_of(*jwks: JWK) -> tuple[SigningKey, KeyRing]:
    active = make_signing_key(jwks[0], "ES256")
    return active, make_key_ring(active, [make_verification_key(jwk, "ES256") for jwk in jwks])


@dataclass
class Process:
    """What outlives snapshots, and the snapshots made so far."""

    jwk: JWK = field(default_factory=lambda: JWK.generate(kty="EC", crv="P-256"))
    cache: TokenCache = field(default_factory=TokenCache)
    revocations: Revocations = field(default_factory=Revocations)
    counts: VerifyCounts = field(default_factory=VerifyCounts)
    checks: list[str] = field(default_factory=list)
    """The algorithm of every token that was verified anew."""
    generation: int = 0

    def enforcer(
        self,
        *,
        routes: tuple[RouteSettings, ...] = ROUTES,
        granted: Grants | None = None,
        keys: KeyRing | None = None,
        without_keys: bool = False,
        issuer: str = ISSUER,
    ) -> Enforcer:
        """Return the enforcer of a new snapshot."""
        self.generation += 1
        compiled = compile_routes(routes, reserved_paths=frozenset())
        assert not compiled.problems
        return Enforcer(
            table=compiled.table,
            grants=grants() if granted is None else granted,
            keys=None if without_keys else keys or ring_of(self.jwk)[1],
            issuer=issuer,
            issuer_paths=["/oauth2/token"],
            cache=self.cache,
            revocations=self.revocations,
            counts=self.counts,
            generation=self.generation,
            observe_verification=lambda alg, _seconds: self.checks.append(alg),
            stopwatch=lambda: 0.0,
        )

    def token(self, *, typ: str = "at+jwt", jwk: JWK | None = None, **changes: object) -> bytes:
        """Return a token of the reader with these claims; None leaves one out."""
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": "reader",
            "client_id": "reader",
            "aud": "countries",
            "iat": int(NOW),
            "nbf": int(NOW),
            "exp": int(NOW) + 600,
            "jti": "one",
            "scope": "read",
        }
        claims |= changes
        key = make_signing_key(jwk or self.jwk, "ES256")
        return sign_compact(
            key, {name: value for name, value in claims.items() if value is not None}, typ=typ
        )


@pytest.fixture
def process() -> Process:
    return Process()
