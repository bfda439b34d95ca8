"""Compile the clients and authorizations of the settings into what requests look up.

Everything that depends on the settings alone is worked out here, once per snapshot:
which grants and methods a client may use, which scopes an authorization really gives
(granted and still offered), and what a failed login must cost. Pure.

The cost of failure: whoever fails to log in, known client or not, pays what the dearest
client's failure costs (`gateway.clients.failure_costs`).

Sources: RFC 6749 2.3.1, 3.3 and 4.4; RFC 2104 3.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.clients.failure_costs import (
    ScryptCost,
    ScryptFailure,
    SignatureFailure,
    client_failure,
    dearest_scrypt,
    grant_failure,
)
from gateway.clients.identities import Identities, Keys, TrustedIdentity, file_identities
from gateway.clients.secrets import NOBODYS_SECRET
from gateway.oauth_names import (
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_JWT,
    CLIENT_SECRET_POST,
    JWT_BEARER,
    MIN_HMAC_SECRET_BYTES,
    PRIVATE_KEY_JWT,
)
from gateway.policy.model import AudienceGrant, ClientGrants, Grants
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    KeySource,
    PlainSecret,
    RemoteKeySource,
    ScryptSecret,
    Settings,
    Sha256Secret,
    StaticKeySource,
)
from gateway.tokens.claims import RESERVED_CLAIMS
from gateway.tokens.configured_keys import keys_of
from gateway.tokens.key_sets import KeySet

_SECRET_METHODS = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})


@dataclass(frozen=True, slots=True)
class Authorization:
    """What one client may ask for one audience."""

    scopes: frozenset[str]
    """Granted by the authorization and offered by the audience."""
    default_scopes: tuple[str, ...]
    """Granted when none is asked; only such as are in `scopes`."""
    token_lifetime_s: float | None
    until: float | None

    def holds_at(self, now: float) -> bool:
        """Return whether its last day is not over."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """One client as a caller of the issuer."""

    id: str
    quick_secrets: tuple[Sha256Secret, ...] = field(repr=False)
    """Readable ones, too, hashed: each takes one hash to compare."""
    scrypt_secrets: tuple[ScryptSecret, ...] = field(repr=False)
    scrypt_padding: tuple[ScryptCost, ...]
    """What a failed login computes beyond `scrypt_secrets`, so that all failures cost the same."""
    hmac_secrets: tuple[bytes, ...] = field(repr=False)
    """Keys of HS256, of its readable secrets that are long enough for client_secret_jwt."""
    keys: Keys | None
    """Its public keys, for private_key_jwt."""
    single_use_assertions: bool
    require_jti: bool
    legacy_audience: bool
    grants: frozenset[str]
    auth_methods: frozenset[str]
    default_audience: str | None
    token_lifetime_s: float | None
    claims: Mapping[str, object]
    """Extra claims of its tokens, as plain JSON values; none that the issuer decides itself."""
    disabled: bool
    authorizations: Mapping[str, Authorization]
    """By audience."""


@dataclass(frozen=True, slots=True, eq=False)
class Registry:
    """Every client, ready to be looked up. Compared by identity."""

    clients: Mapping[str, RegisteredClient]
    nobody: RegisteredClient
    """Stands in for an unknown id: fails every login at the common cost."""
    grants: Grants
    scopes: frozenset[str]
    """Every scope that any audience offers."""
    identities: Identities = field(default_factory=lambda: file_identities(()))
    remote_sources: tuple[RemoteKeySource, ...] = ()
    """Every key set that is fetched, each once."""
    scrypt_secrets: frozenset[ScryptSecret] = field(default=frozenset(), repr=False)
    """Every `scrypt:` secret of any client."""
    quick_tries: int = 1
    """How many quick secrets a failure is compared with."""
    mac_tries: int = 1
    """How many secrets a failed client_secret_jwt is compared with."""
    client_failure: SignatureFailure = field(default_factory=SignatureFailure)
    """What a failed private_key_jwt costs."""
    grant_failure: SignatureFailure = field(default_factory=SignatureFailure)
    """What a failed jwt-bearer grant costs."""


def compile_registry(settings: Settings) -> Registry:
    """Return the registry of `settings`, whose names are already checked.

    Raises:
        ValueError: Two authorizations are for one client and audience, or a key set in the
            settings, which the loader has tried, is not usable.
    """
    authorizations = _compile_authorizations(settings)
    costs = dearest_scrypt(map(_slow_secrets, settings.clients.values()))
    clients = {
        client.id: _register(client, authorizations.get(client.id, {}), costs)
        for client in settings.clients.values()
    }
    grants: dict[str, ClientGrants] = {
        client.id: ClientGrants(
            client.disabled,
            MappingProxyType(
                {name: AudienceGrant(a.scopes, a.until) for name, a in client.authorizations.items()}
            ),
        )
        for client in clients.values()
    }
    identities = tuple(_trusted_identities(settings.clients.values()))
    sets_by_issuer: dict[str, dict[Keys, None]] = {}
    for identity in identities:
        sets_by_issuer.setdefault(identity.settings.issuer, {})[identity.keys] = None
    sources = [client.keys for client in clients.values()] + [identity.keys for identity in identities]
    return Registry(
        identities=file_identities(identities),
        remote_sources=tuple(dict.fromkeys(s for s in sources if isinstance(s, RemoteKeySource))),
        clients=MappingProxyType(clients),
        nobody=_register(ClientSettings("", secrets=(NOBODYS_SECRET,)), {}, costs),
        grants=MappingProxyType(grants),
        scopes=frozenset().union(*(client.scopes for client in settings.clients.values())),
        quick_tries=max((len(client.quick_secrets) for client in clients.values()), default=1) or 1,
        mac_tries=max((len(client.hmac_secrets) for client in clients.values()), default=1) or 1,
        client_failure=client_failure(c.keys for c in clients.values() if isinstance(c.keys, KeySet)),
        grant_failure=grant_failure({issuer: tuple(sets) for issuer, sets in sets_by_issuer.items()}),
        scrypt_secrets=frozenset(s for client in clients.values() for s in client.scrypt_secrets),
    )


_SHA256_BLOCK_BYTES = 64


def _compile_authorizations(settings: Settings) -> dict[str, dict[str, Authorization]]:
    compiled: dict[str, dict[str, Authorization]] = {}
    for entry in settings.authorizations:
        of_client = compiled.setdefault(entry.client, {})
        if entry.audience in of_client:
            raise ValueError(f"two authorizations of {entry.client!r} for {entry.audience!r}")
        of_client[entry.audience] = _compile_authorization(entry, settings.clients)
    return compiled


def _compile_authorization(
    entry: AuthorizationSettings, clients: Mapping[str, ClientSettings]
) -> Authorization:
    audience = clients.get(entry.audience)
    offered = frozenset(audience.scopes) if audience is not None else frozenset()
    scopes = frozenset(entry.scopes) & offered
    defaults = tuple(scope for scope in entry.default_scopes if scope in scopes)
    return Authorization(scopes, defaults, entry.token_lifetime_s, entry.until)


def _register(
    client: ClientSettings, authorizations: Mapping[str, Authorization], costs: ScryptFailure
) -> RegisteredClient:
    slow = _slow_secrets(client)
    hmac_secrets = tuple(
        _mac_key(s.value)
        for s in client.secrets
        if isinstance(s, PlainSecret) and len(s.value) >= MIN_HMAC_SECRET_BYTES
    )
    possible_methods = set(_SECRET_METHODS) if client.secrets else set()
    if hmac_secrets:
        possible_methods.add(CLIENT_SECRET_JWT)
    if client.keys is not None:
        possible_methods.add(PRIVATE_KEY_JWT)
    possible_grants = {CLIENT_CREDENTIALS} if possible_methods else set()
    if client.assertions:
        possible_grants.add(JWT_BEARER)
    return RegisteredClient(
        id=client.id,
        quick_secrets=tuple(_hashed(s) for s in client.secrets if not isinstance(s, ScryptSecret)),
        scrypt_secrets=slow,
        scrypt_padding=costs.padding(slow),
        hmac_secrets=hmac_secrets,
        keys=_keys_at(client.keys),
        single_use_assertions=client.single_use_assertions,
        require_jti=client.require_jti,
        legacy_audience=client.legacy_audience,
        grants=frozenset(possible_grants if client.grants is None else client.grants),
        auth_methods=frozenset(possible_methods if client.auth_methods is None else client.auth_methods),
        default_audience=client.default_audience,
        token_lifetime_s=client.token_lifetime_s,
        claims={k: _plain_json(v) for k, v in client.claims.items() if k not in RESERVED_CLAIMS},
        disabled=client.disabled,
        authorizations=MappingProxyType(dict(authorizations)),
    )


def _keys_at(source: KeySource | None) -> Keys | None:
    return keys_of(source) if isinstance(source, StaticKeySource) else source


def _trusted_identities(clients: Iterable[ClientSettings]) -> Iterator[TrustedIdentity]:
    # Equal sets become one: a signature is verified once per set, however many identities share it.
    sets: dict[KeySource, Keys] = {}
    for client in clients:
        for entry in client.assertions:
            keys = sets.get(entry.keys) or _keys_at(entry.keys)
            assert keys is not None
            yield TrustedIdentity(client.id, entry, sets.setdefault(entry.keys, keys))


def _slow_secrets(client: ClientSettings) -> tuple[ScryptSecret, ...]:
    return tuple(secret for secret in client.secrets if isinstance(secret, ScryptSecret))


def _hashed(secret: Sha256Secret | PlainSecret) -> Sha256Secret:
    if isinstance(secret, Sha256Secret):
        return secret
    salt = bytes(16)
    return Sha256Secret(salt, hashlib.sha256(salt + secret.value).digest())


def _mac_key(secret: bytes) -> bytes:
    """Return the HMAC key that stands for `secret` (RFC 2104 3): its hash where it is longer than a block.

    Hashed once here, a secret of 64 KiB costs no more with each assertion than any other.
    """
    return hashlib.sha256(secret).digest() if len(secret) > _SHA256_BLOCK_BYTES else secret


def _plain_json(value: object) -> object:
    """Return `value` with its frozen mappings and tuples as the dicts and lists that encode as JSON."""
    if isinstance(value, Mapping):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_json(item) for item in value]
    return value
