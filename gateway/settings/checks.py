"""Check that settings fit together: names that lead nowhere, unsafe values, doubtful rights.

Pure, on the settings alone; each finding names the entry and the keys it is
about, and the loader puts file, line and column to it. A finding about a scalar
leaves out its text: the loader quotes it as it was written, before expansion.
The grammar of path templates and routes that tie are the policy compiler's.

Sources: CONTRACT sections 2 and 5, RFC 8414 2 (https), RFC 6749 3.3.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from gateway.hosts import is_loopback
from gateway.oauth_names import (
    AUTH_METHODS,
    CLIENT_SECRET_JWT,
    GRANTS,
    JWT_BEARER,
    MIN_HMAC_SECRET_BYTES,
    PRIVATE_KEY_JWT,
)
from gateway.settings.doubts import Doubts
from gateway.settings.findings import Finding, Step, at_origin
from gateway.settings.identity_keys import KEY_SOURCES
from gateway.settings.misnamed import Misnamed, find_misnamed
from gateway.settings.model import (
    Access,
    AuthorizationSettings,
    ClientCertificate,
    ClientSettings,
    ListenAddress,
    Mode,
    Origin,
    PlainSecret,
    PolicyTest,
    RouteSettings,
    ScryptSecret,
    Settings,
    TcpAddress,
    UnixAddress,
    UnixTargetSettings,
)
from gateway.settings.problems import Severity, suggest
from gateway.settings.secret_texts import MOST_SCRYPT_SECRETS, MOST_SECRETS
from gateway.settings.texts import needs_trusted_proxy
from gateway.settings.token_size import full_token_bytes
from gateway.tokens.jwt import largest_token_bytes

_MOST_SUGGESTIONS = 50
_MOST_NAMES = 10
_NO_DOUBTS = Doubts()
_OTHER_FILES = 100
"""Open files that are no connections of callers or upstreams: logs, state, listeners, libraries."""
MOST_CONDITIONS = 16
"""Claims of one identity: an assertion of anybody is compared with 64 identities and all of these."""
NEAR_S = 14 * 86400
"""Before its end a right is told to be near it."""
LONGEST_SOCKET_PATH_BYTES = 107
"""What fits into the system's address of a unix socket (unix(7))."""


def check_process(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with listeners, admin and issuer."""
    yield from _check_addresses(settings)
    yield from _check_listeners(settings)
    yield from _check_targets(settings)
    yield from _check_kept_headers(settings)
    admin = settings.admin.address
    if isinstance(admin, TcpAddress) and not is_loopback(admin.host) and settings.admin.token_file is None:
        yield Finding(
            None,
            ("admin", "address"),
            "reaches beyond this machine and no admin.token_file is set",
            "listen on 127.0.0.1, or set admin.token_file",
            quoted=True,
        )
    yield from _check_state(settings)
    url = urlsplit(settings.issuer.url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Finding(
            None,
            ("issuer", "url"),
            "is http:// and not on loopback",
            "tokens and secrets travel readable; use https://",
            Severity.WARNING,
            quoted=True,
        )


def _check_state(settings: Settings) -> Iterator[Finding]:
    """Yield a warning for a Redis server that is spoken to readably over a network."""
    server = settings.state.redis
    if server is not None and not server.tls and not is_loopback(server.host):
        yield Finding(
            None,
            ("state",),
            "is redis:// and not on loopback",
            "its password and what is revoked travel readable; use rediss://",
            Severity.WARNING,
        )


def check_file_limit(settings: Settings, hard_limit: int) -> Iterator[Finding]:
    """Yield a warning when the connections that are allowed cannot all be open at once.

    Args:
        settings: Each connection of a caller may need one to an upstream.
        hard_limit: The most open files this process may raise its limit to.
    """
    callers = settings.limits.connections
    if not callers:
        return
    most_upstream = sum(
        (each.max_connections or callers) * len(each.targets) for each in settings.upstreams.values()
    )
    needed = callers + min(callers, most_upstream) + _OTHER_FILES
    if needed > hard_limit:
        yield Finding(
            None,
            ("limits", "connections"),
            f"{callers} connections need up to {needed} open files, and this user may open {hard_limit}",
            "raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower limits.connections",
            Severity.WARNING,
        )


def check_policy(settings: Settings, *, now: float, doubts: Doubts = _NO_DOUBTS) -> Iterator[Finding]:
    """Yield what is wrong with clients, authorizations, routes and tests; `now` judges `until`.

    Nothing is said that may follow from what `doubts` name.
    """
    hints = _Hints(doubts, settings)
    yield from _check_clients(settings, hints)
    yield from _check_authorizations(settings, hints, now)
    yield from _check_routes(settings, hints)
    for test in settings.tests:
        yield from _check_test(test, settings.clients, hints)
    yield from hints.misspelled_definitions()


class _Hints:
    """Gives `did you mean` hints, but not more than a reader wants: each costs a search of all names."""

    def __init__(self, doubts: Doubts, settings: Settings) -> None:
        self.doubts = doubts
        self._settings = settings
        self._misnamed: Misnamed | None = None
        self._left = _MOST_SUGGESTIONS

    @property
    def misnamed(self) -> Misnamed:
        """What is defined under a misspelled name: looked for when the first name leads nowhere."""
        if self._misnamed is None:
            self._misnamed = find_misnamed(self._settings)
        return self._misnamed

    def misspelled_definitions(self) -> Iterable[Finding]:
        """Return what is wrong with definitions whose name is misspelled, once all else was looked at."""
        return () if self._misnamed is None else self._misnamed.findings

    def suggest(self, name: str, known: Collection[str], otherwise: str = "") -> str:
        if self._left <= 0:
            return otherwise
        self._left -= 1
        return suggest(name, known) or otherwise or _list(known)


def _list(known: Collection[str]) -> str:
    """Return the first names that there are."""
    names = sorted(known)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"there are: {', '.join(names[:_MOST_NAMES])}{more}" if names else "there are none"


def _check_addresses(settings: Settings) -> Iterator[Finding]:
    """Two sockets cannot listen on one address; a wildcard takes the port from every address."""
    taken: list[ListenAddress] = []
    for index, listener in enumerate(settings.listeners):
        address = listener.address
        if any(_collide(address, other) for other in taken):
            steps = ("listeners", index, "address")
            yield Finding(
                None,
                steps,
                "is the address of another listener",
                "one listener for each address",
                quoted=True,
            )
        taken.append(address)
    if any(_collide(settings.admin.address, other) for other in taken):
        yield Finding(
            None,
            ("admin", "address"),
            "the admin listener has the address of another listener",
            "give it its own port",
        )


def _check_kept_headers(settings: Settings) -> Iterator[Finding]:
    """Yield a warning for fields that nobody can send, because only a trusted proxy's are kept."""
    if settings.trusted_proxies:
        return
    for name, upstream in settings.upstreams.items():
        for kept in sorted(upstream.keep_headers):
            if needs_trusted_proxy(kept):
                yield Finding(
                    None,
                    ("upstreams", name, "keep_headers"),
                    f"{kept} is kept from trusted_proxies only, and there are none",
                    "name the proxy that writes it in trusted_proxies, or leave the field out",
                    Severity.WARNING,
                )


def _check_targets(settings: Settings) -> Iterator[Finding]:
    """Yield unix sockets that cannot be connected to."""
    for name, upstream in settings.upstreams.items():
        for target in upstream.targets:
            if (
                isinstance(target, UnixTargetSettings)
                and len(str(target.path).encode()) > LONGEST_SOCKET_PATH_BYTES
            ):
                yield Finding(
                    None,
                    ("upstreams", name, "targets"),
                    "the path of the socket is too long",
                    f"at most {LONGEST_SOCKET_PATH_BYTES} bytes",
                )


def _check_listeners(settings: Settings) -> Iterator[Finding]:
    """Yield sockets that cannot be bound, and PROXY headers and certificates that cannot be checked."""
    named: list[tuple[tuple[Step, ...], ListenAddress]] = [
        (("listeners", index, "address"), listener.address)
        for index, listener in enumerate(settings.listeners)
    ]
    for steps, address in (*named, (("admin", "address"), settings.admin.address)):
        if isinstance(address, UnixAddress) and len(str(address.path).encode()) > LONGEST_SOCKET_PATH_BYTES:
            yield Finding(
                None,
                steps,
                "the path of the socket is too long",
                f"at most {LONGEST_SOCKET_PATH_BYTES} bytes",
            )
    for index, listener in enumerate(settings.listeners):
        steps = ("listeners", index)
        if (
            listener.proxy_protocol
            and isinstance(listener.address, TcpAddress)
            and not settings.trusted_proxies
        ):
            yield Finding(
                None,
                (*steps, "proxy_protocol"),
                "no peer may send PROXY headers, so every connection would be closed",
                "name the senders in trusted_proxies",
            )
        tls = listener.tls
        if tls is None:
            continue
        asks = tls.client_certificate is not ClientCertificate.OFF
        if asks and tls.client_ca_file is None:
            yield Finding(
                None,
                (*steps, "tls", "client_certificate"),
                "client certificates are asked for and client_ca_file does not say who signs them",
                "set client_ca_file",
            )
        elif not asks and tls.client_ca_file is not None:
            yield Finding(
                None,
                (*steps, "tls", "client_ca_file"),
                "client certificates are not asked for, so this file has no effect",
                "set client_certificate to optional or required, or leave the file out",
            )


def _collide(one: ListenAddress, other: ListenAddress) -> bool:
    """Return whether only one of two sockets can listen: an IPv6 wildcard takes no IPv4 address here."""
    if not isinstance(one, TcpAddress) or not isinstance(other, TcpAddress):
        return one == other
    if one.port != other.port or one.port == 0 or not one.host or not other.host:
        return False
    if one.host == other.host:
        return True
    addresses = _address_of(one.host), _address_of(other.host)
    if addresses[0] is None or addresses[1] is None:
        # A name leads to one family or both; to which address is not known before the start.
        return any(address is not None and address.is_unspecified for address in addresses)
    if addresses[0].version != addresses[1].version:
        return False
    return addresses[0] == addresses[1] or any(address.is_unspecified for address in addresses if address)


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _check_clients(settings: Settings, hints: _Hints) -> Iterator[Finding]:
    clients = settings.clients
    granted: dict[str, set[str]] = {}
    for authorization in settings.authorizations:
        granted.setdefault(authorization.client, set()).add(authorization.audience)
    doubts = hints.doubts
    all_granted: bool | None = None
    for client in clients.values():
        audience = client.default_audience
        if audience is not None:
            if audience not in clients:
                yield from _check_client(client.origin, ("default_audience",), audience, clients, hints)
            elif audience not in granted.get(client.id, ()):
                if all_granted is None:
                    all_granted = _all_granted(settings, doubts)
                if all_granted:
                    yield Finding(
                        client.origin,
                        ("default_audience",),
                        "is an audience that this client has no authorization for",
                        "add one under authorizations",
                        Severity.WARNING,
                        quoted=True,
                    )
        if client.disabled:
            yield Finding(
                client.origin, ("disabled",), "the client is disabled", "it gets no token", Severity.WARNING
            )
        elif client.id in granted and not (
            client.secrets
            or client.keys
            or client.assertions
            or doubts.about(client.origin, "secrets", "assertions", *KEY_SOURCES)
        ):
            yield Finding(
                client.origin,
                (),
                "the client has an authorization but no credentials",
                "it can never ask for a token; give it secrets, keys or assertions",
                Severity.WARNING,
            )
        yield from _check_number_of_secrets(client)
        yield from _check_number_of_conditions(client)
        if client.legacy_audience:
            yield Finding(
                client.origin,
                ("legacy_audience",),
                "assertions for the token endpoint's address are accepted, not only for the issuer",
                "leave it out once sidegate_legacy_audience_total of this client stands still",
                Severity.WARNING,
            )
        yield from _check_methods(client)


def _check_number_of_secrets(client: ClientSettings) -> Iterator[Finding]:
    """Yield the first secret that is one too many: anybody's failed login pays for the longest list."""
    every = range(len(client.secrets))
    hashed = [index for index in every if isinstance(client.secrets[index], ScryptSecret)]
    for places, most, what in (
        (hashed, MOST_SCRYPT_SECRETS, "scrypt: secrets"),
        (every, MOST_SECRETS, "secrets"),
    ):
        if len(places) > most:
            yield Finding(
                client.origin,
                ("secrets", places[most]),
                f"the client has more than {most} {what}",
                "each failed login of anybody would cost as much; two make a rotation",
            )


def _check_number_of_conditions(client: ClientSettings) -> Iterator[Finding]:
    """Yield identities with too many claims: assertions of anybody are compared with many."""
    for index, identity in enumerate(client.assertions):
        if len(identity.claims) > MOST_CONDITIONS:
            yield Finding(
                client.origin,
                ("assertions", index, "claims", list(identity.claims)[MOST_CONDITIONS]),
                f"the identity names more than {MOST_CONDITIONS} claims",
                "each assertion of anybody would be compared with all; two or three tell who it is",
            )


def _check_methods(client: ClientSettings) -> Iterator[Finding]:
    """Yield the ways to prove itself that are named and that the credentials do not make possible."""
    readable = any(
        isinstance(secret, PlainSecret) and len(secret.value) >= MIN_HMAC_SECRET_BYTES
        for secret in client.secrets
    )
    has = {
        PRIVATE_KEY_JWT: client.keys is not None,
        CLIENT_SECRET_JWT: readable,
        JWT_BEARER: bool(client.assertions),
    }
    grants, methods = client.grants or (), client.auth_methods or ()
    named = [
        *(("grants", grant.grant_type, grant.needs) for grant in GRANTS if grant.grant_type in grants),
        *(("auth_methods", each.name, each.needs) for each in AUTH_METHODS if each.name in methods),
    ]
    for key, name, needs in named:
        if needs and not has[name]:
            text = f"the client has nothing to use {name} with"
            yield Finding(client.origin, (key,), text, needs, Severity.WARNING)


def _check_authorizations(settings: Settings, hints: _Hints, now: float) -> Iterator[Finding]:
    clients = settings.clients
    seen: dict[tuple[str, str], AuthorizationSettings] = {}
    for item in settings.authorizations:
        for key, name in (("client", item.client), ("audience", item.audience)):
            if name not in clients:
                yield from _check_client(item.origin, (key,), name, clients, hints)
        first = seen.setdefault((item.client, item.audience), item)
        if first is not item and item.client and item.audience:
            yield Finding(
                item.origin,
                (),
                f"this client and audience are authorized already{at_origin(first.origin)}",
                "write one entry with all the scopes",
            )
        audience = clients.get(item.audience)
        if audience is not None:
            yield from _check_offered(item.origin, ("scopes",), item.scopes, [audience], hints)
            yield from _check_token_size(settings, item, audience)
        granted = frozenset(item.scopes)
        for scope in () if hints.doubts.about(item.origin, "scopes") else item.default_scopes:
            if scope not in granted and not _is_misspelled(granted, audience):
                yield Finding(
                    item.origin,
                    ("default_scopes", scope),
                    "is not among the scopes of this authorization",
                    hints.suggest(scope, granted),
                    quoted=True,
                )
        if item.until is not None and item.until <= now + NEAR_S:
            message, hint = "is over", "the authorization grants nothing"
            if item.until > now:
                message = "is less than 14 days away: the authorization ends with that day"
                hint = "set a later day if it is still needed"
            yield Finding(item.origin, ("until",), message, hint, Severity.WARNING, quoted=True)


def _check_token_size(
    settings: Settings, item: AuthorizationSettings, audience: ClientSettings
) -> Iterator[Finding]:
    """Yield a warning when the client cannot have all that it is granted in one token."""
    client = settings.clients.get(item.client)
    most_bytes = largest_token_bytes(settings.limits.header_bytes)
    if client is None:
        return
    size = full_token_bytes(client, item, audience, settings.issuer)
    if size > most_bytes:
        yield Finding(
            item.origin,
            ("scopes",),
            f"a token with all of it would have about {size} bytes, and the gate takes {most_bytes} at most",
            "the client must ask for fewer scopes at a time; shorter names, or claims, help",
            Severity.WARNING,
        )


def _check_routes(settings: Settings, hints: _Hints) -> Iterator[Finding]:
    names: dict[str, RouteSettings] = {}
    for route in settings.routes:
        first = names.setdefault(route.name, route)
        if first is not route and route.path:
            yield Finding(
                route.origin,
                ("name",),
                f"a route of this name is defined already{at_origin(first.origin)}",
                "names are unique; the default is made from methods, host and path",
            )
        if route.upstream not in settings.upstreams:
            yield from _check_upstream(route, settings.upstreams, hints)
        if route.mode is Mode.SHADOW:
            yield Finding(
                route.origin,
                ("mode",),
                "is recorded only: nothing about the token is refused here",
                "write enforce when the records look right",
                Severity.WARNING,
                quoted=True,
            )
        yield from _check_require(route, settings.clients, hints)
        yield from _check_rewrite(route)


def _check_require(
    route: RouteSettings, clients: Mapping[str, ClientSettings], hints: _Hints
) -> Iterator[Finding]:
    require = route.require
    demands = bool(
        require.audiences or require.scopes or require.any_scopes or require.claims or require.clients
    )
    if route.access is Access.PUBLIC:
        if demands:
            yield Finding(
                route.origin,
                ("require",),
                "a public route requires nothing",
                "leave out require, or access: public",
            )
        return
    if not require.audiences and not hints.doubts.about(route.origin, "require", "access"):
        yield Finding(
            route.origin,
            ("require",),
            "the route names no audience, so a token for any service would do",
            "e.g. require: {audience: country-service}; a route without tokens says access: public",
        )
    for audience in sorted(require.audiences):
        if audience not in clients:
            place = ("require", ("audience", "any_audience"), audience)
            yield from _check_client(route.origin, place, audience, clients, hints)
    for client in sorted(require.clients):
        if client not in clients:
            yield from _check_client(route.origin, ("require", "clients", client), client, clients, hints)
    audiences = [clients[name] for name in require.audiences if name in clients]
    if audiences and len(audiences) == len(require.audiences):
        yield from _check_offered(route.origin, ("require", "scopes"), require.scopes, audiences, hints)
        yield from _check_offered(
            route.origin, ("require", "any_scopes"), require.any_scopes, audiences, hints
        )


def _check_upstream(route: RouteSettings, upstreams: Collection[str], hints: _Hints) -> Iterator[Finding]:
    """Yield that a route's upstream leads nowhere, unless it may be one that could not be read."""
    name = route.upstream
    if not name or name in hints.misnamed.upstreams or hints.doubts.of("upstreams"):
        return
    hint = "define it under upstreams, and name it here" if "://" in name else ""
    hint = hint or hints.suggest(name, upstreams)
    yield Finding(route.origin, ("upstream",), "is not an upstream", hint, quoted=True)


def _check_client(
    owner: Origin | None, steps: tuple[Step, ...], name: str | None, clients: Collection[str], hints: _Hints
) -> Iterator[Finding]:
    """Yield that a name leads to no client, unless it may be one of those that could not be read."""
    if not name or name in clients or name in hints.misnamed.clients:
        return
    if not hints.doubts.of("clients"):
        yield Finding(owner, steps, "is not a client", hints.suggest(name, clients), quoted=True)


def _is_misspelled(granted: Collection[str], audience: ClientSettings | None) -> bool:
    """Return whether one of the granted scopes is none, which is said where it is written."""
    return audience is not None and not audience.scopes.keys() >= set(granted)


def _check_rewrite(route: RouteSettings) -> Iterator[Finding]:
    strip = route.rewrite.strip_prefix
    if strip and route.path and route.path != strip and not route.path.startswith(strip + "/"):
        yield Finding(
            route.origin, ("rewrite", "strip_prefix"), "is not how the path of this route begins", quoted=True
        )


def _check_test(test: PolicyTest, clients: Mapping[str, ClientSettings], hints: _Hints) -> Iterator[Finding]:
    for key, name in (("client", test.client), ("audience", test.audience)):
        yield from _check_client(test.origin, (key,), name, clients, hints)
    if test.claims is not None:
        if test.client is not None:
            yield Finding(test.origin, ("claims",), "a test has a client or claims, not both")
    elif test.client is None:
        for key, value in (("audience", test.audience), ("scopes", test.scopes)):
            if value is not None:
                yield Finding(
                    test.origin, (key,), "there is no client whose token this would be", "add client"
                )
    audience = clients.get(test.audience) if test.audience is not None else None
    if audience is not None:
        yield from _check_offered(test.origin, ("scopes",), test.scopes or (), [audience], hints)


def _all_granted(settings: Settings, doubts: Doubts) -> bool:
    """Return whether each authorization could be read and leads to clients: else one may be missed."""
    return not doubts.of("authorizations") and not any(
        doubts.about(each.origin, "client", "audience")
        or each.client not in settings.clients
        or each.audience not in settings.clients
        for each in settings.authorizations
    )


def _check_offered(
    owner: Origin | None,
    steps: tuple[Step, ...],
    scopes: Iterable[str],
    audiences: list[ClientSettings],
    hints: _Hints,
) -> Iterator[Finding]:
    # Of one audience as it is: thousands of routes name the same.
    single = audiences[0].scopes if len(audiences) == 1 else None
    every = frozenset().union(*(each.scopes for each in audiences)) if single is None else single
    missing = [scope for scope in scopes if scope not in every]
    if not missing or any(hints.doubts.about(each.origin, "scopes") for each in audiences):
        return
    offered = sorted(every)
    shown = f"offered: {', '.join(offered[:10])}" if offered else "it offers none"
    misnamed = hints.misnamed.scopes.get(audiences[0].id, ()) if single is not None else ()
    for scope in missing:
        if scope in misnamed:
            continue
        hint = hints.suggest(scope, offered, shown)
        yield Finding(owner, (*steps, scope), "is not a scope that the audience offers", hint, quoted=True)
