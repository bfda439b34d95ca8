"""Compile the clients and authorizations of the settings into what requests look up.

Everything that depends on the settings alone is worked out here, once per snapshot:
which grants and methods a client may use, which scopes an authorization really gives
(granted and still offered), and what a failed login must cost. Pure.

The cost of failure: whoever fails to log in, known client or not, pays one and the
same list of scrypt computations, long enough to contain the list of every client.
Otherwise the time of the answer would tell which ids exist and how they are secured.

Sources: RFC 6749 2.3.1, 3.3 and 4.4.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.policy.model import AudienceGrant, ClientGrants, Grants
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    PlainSecret,
    ScryptSecret,
    Settings,
    Sha256Secret,
)
from gateway.tokens.claims import REGISTERED_CLAIMS

CLIENT_CREDENTIALS = "client_credentials"
CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105  # a method
CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105  # a method
_SECRET_METHODS = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """The parameters that decide how long one scrypt computation takes."""

    n: int
    r: int
    p: int


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
    quick_secrets: tuple[Sha256Secret | PlainSecret, ...] = field(repr=False)
    scrypt_secrets: tuple[ScryptSecret, ...] = field(repr=False)
    scrypt_padding: tuple[ScryptCost, ...]
    """What a failed login computes beyond `scrypt_secrets`, so that all failures cost the same."""
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

    def find_authorization(self, client_id: str, audience: str) -> Authorization | None:
        """Return what `client_id` may ask for `audience`, or None for nothing."""
        client = self.clients.get(client_id)
        return None if client is None else client.authorizations.get(audience)


def compile_registry(settings: Settings) -> Registry:
    """Return the registry of `settings`, whose names are already checked.

    Raises:
        ValueError: Two authorizations are for one client and audience.
    """
    authorizations = _compile_authorizations(settings)
    costs = _failure_costs(settings.clients.values())
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
    return Registry(
        clients=MappingProxyType(clients),
        nobody=_register(ClientSettings("", secrets=(_UNMATCHABLE,)), {}, costs),
        grants=MappingProxyType(grants),
        scopes=frozenset().union(*(client.scopes for client in settings.clients.values())),
    )


_UNMATCHABLE = Sha256Secret(salt=bytes(16), digest=bytes(32))
"""A secret whose SHA-256 is all zero is not known to anyone; `nobody` is refused even with it."""


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
    client: ClientSettings, authorizations: Mapping[str, Authorization], costs: Counter[ScryptCost]
) -> RegisteredClient:
    quick = tuple(s for s in client.secrets if not isinstance(s, ScryptSecret))
    slow = tuple(s for s in client.secrets if isinstance(s, ScryptSecret))
    padding = costs - Counter(map(_cost, slow))
    possible_grants = frozenset({CLIENT_CREDENTIALS}) if client.secrets else frozenset()
    possible_methods = _SECRET_METHODS if client.secrets else frozenset()
    return RegisteredClient(
        id=client.id,
        quick_secrets=quick,
        scrypt_secrets=slow,
        scrypt_padding=tuple(padding.elements()),
        grants=possible_grants if client.grants is None else client.grants,
        auth_methods=possible_methods if client.auth_methods is None else client.auth_methods,
        default_audience=client.default_audience,
        token_lifetime_s=client.token_lifetime_s,
        claims={k: _plain_json(v) for k, v in client.claims.items() if k not in REGISTERED_CLAIMS},
        disabled=client.disabled,
        authorizations=MappingProxyType(dict(authorizations)),
    )


def _failure_costs(clients: Iterable[ClientSettings]) -> Counter[ScryptCost]:
    """Return the smallest collection of scrypt computations that contains every client's."""
    costs: Counter[ScryptCost] = Counter()
    for client in clients:
        costs |= Counter(_cost(secret) for secret in client.secrets if isinstance(secret, ScryptSecret))
    return costs


def _cost(secret: ScryptSecret) -> ScryptCost:
    return ScryptCost(secret.n, secret.r, secret.p)


def _plain_json(value: object) -> object:
    """Return `value` with its frozen mappings and tuples as the dicts and lists that encode as JSON."""
    if isinstance(value, Mapping):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain_json(item) for item in value]
    return value
