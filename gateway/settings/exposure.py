"""Warn of settings that give everything away: legal, rarely meant, and silent until somebody finds them.

One finding for each, at its place. Judged on the settings alone, but for two looks at the
system: where links to sockets lead, and the name of this machine. What the modes of files
give away is `gateway.settings.exposed_files`; what cannot work at all is
`gateway.settings.checks`.

Sources: RFC 6750 5.2 (tokens in clear text), RFC 7239 8.1 (who may say whom they forward for).
"""

import ipaddress
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.files import real_path
from gateway.hosts import address_of, is_localhost, is_loopback
from gateway.http1.dropped_fields import spelled_alike
from gateway.settings.findings import Finding, Step
from gateway.settings.model import (
    Access,
    ListenAddress,
    Origin,
    Rate,
    RemoteKeySource,
    Settings,
    TargetSettings,
    TcpAddress,
    UnixAddress,
    UnixTargetSettings,
    UpstreamSettings,
)
from gateway.settings.problems import Severity
from gateway.settings.texts import is_dropped_by_default, needs_trusted_proxy

LONGEST_LIFETIME_S = 30 * 86400.0
"""Beyond it a token outlives what anybody remembers of it."""

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
_MAPPED_IPV4 = ipaddress.IPv6Network("::ffff:0:0/96")


def check_exposure(settings: Settings) -> Iterator[Finding]:
    """Yield a warning for each setting that gives everything away, and an error for keys from ourselves."""
    yield from _check_listeners(settings)
    yield from _check_trust(settings)
    yield from _check_key_sources(settings)
    yield from _check_limits(settings)
    for name, upstream in settings.upstreams.items():
        yield from _check_forwarding(name, upstream)
        yield from _check_loops(name, upstream, settings)
    yield from _check_lifetimes(settings)


def _warn(steps: tuple[Step, ...], message: str, hint: str, owner: Origin | None = None) -> Finding:
    return Finding(owner, steps, message, hint, Severity.WARNING)


def _check_listeners(settings: Settings) -> Iterator[Finding]:
    """Yield listeners that tokens reach readably: in plain http, off loopback, with no TLS before them."""
    protects = any(route.access is not Access.PUBLIC for route in settings.routes)
    for index, listener in enumerate(settings.listeners):
        # Where nobody can get a token and none is asked for, none comes.
        receives_tokens = (listener.serves_issuer and settings.clients) or (listener.serves_gate and protects)
        address = listener.address
        if (
            receives_tokens
            and listener.tls is None
            and not listener.behind_tls
            and isinstance(address, TcpAddress)
            and address.host
            and not is_loopback(address.host)
        ):
            yield Finding(
                None,
                ("listeners", index, "address"),
                "receives tokens in plain http from other machines",
                "give the listener tls; where something before it ends TLS, say behind_tls: true",
                Severity.WARNING,
                quoted=True,
            )


def _check_trust(settings: Settings) -> Iterator[Finding]:
    """Yield trust in everybody: one network, or several that cover half of all addresses together."""
    networks = [ipaddress.ip_network(text) for text in settings.trusted_proxies]
    v4 = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    covered = sum(network.num_addresses for network in ipaddress.collapse_addresses(v4))
    everybody = covered >= 2**31 or any(
        sum(_common(network, whole) for network in ipaddress.collapse_addresses(v6))
        >= whole.num_addresses // 2
        for whole in (_PUBLIC_IPV6, _MAPPED_IPV4)
    )
    if everybody:
        yield _warn(
            ("trusted_proxies", 0) if len(networks) == 1 else ("trusted_proxies",),
            "everybody is believed who says for whom he forwards",
            "name the proxies that stand in front, and no others",
        )


def _common(one: ipaddress.IPv6Network, other: ipaddress.IPv6Network) -> int:
    """Return how many addresses two networks have in common: one lies in the other, or none."""
    return min(one.num_addresses, other.num_addresses) if one.overlaps(other) else 0


def _check_limits(settings: Settings) -> Iterator[Finding]:
    limits: tuple[tuple[str, Rate, str], ...] = (
        ("auth_failures", settings.limits.auth_failures, "secrets of clients may be guessed without end"),
        ("bad_tokens", settings.limits.bad_tokens, "signatures of tokens may be tried without end"),
    )
    for key, rate, message in limits:
        if rate.requests == 0:
            yield _warn(("limits", key, "requests"), message, "leave it out for the default")


def _check_forwarding(name: str, upstream: UpstreamSettings) -> Iterator[Finding]:
    """Yield what callers may tell a service of themselves, and tokens that travel readable."""
    lies = sorted(kept for kept in upstream.keep_headers if _is_a_lie(kept))
    if lies:
        yield _warn(
            ("upstreams", name, "keep_headers"),
            f"anybody may tell the service where a request comes from or what it is for: {', '.join(lies)}",
            "name the proxies that say so in trusted_proxies; methods and paths are judged as they were sent",
        )
    elsewhere = [
        target
        for target in upstream.targets
        if isinstance(target, TargetSettings) and not target.tls and not is_loopback(target.host)
    ]
    if upstream.forward_token and elsewhere:
        yield _warn(
            ("upstreams", name, "forward_token"),
            f"callers' tokens travel readable to {elsewhere[0].url}",
            "use https:// targets, or leave it out: X-Auth-* says who calls",
        )


def _is_a_lie(kept: str) -> bool:
    """Return whether a kept field would be dropped for what it says, not for the `_` in its name alone."""
    if needs_trusted_proxy(kept):
        return False  # nobody's word but a trusted proxy's
    return is_dropped_by_default(spelled_alike(kept.encode()).decode())


def _check_loops(name: str, upstream: UpstreamSettings, settings: Settings) -> Iterator[Finding]:
    """Yield targets that are a listener of this very process."""
    own_names = {urlsplit(settings.issuer.url).hostname or "", os.uname().nodename.lower()}
    for index, target in enumerate(upstream.targets):
        place = ("upstreams", name, "targets", index)
        if _leads_to(target, settings.admin.address, own_names):
            yield _warn(
                place,
                "is the admin listener: whoever passes the route reaches it as if from this machine",
                "name the service itself",
            )
        elif any(_leads_to(target, listener.address, own_names) for listener in settings.listeners):
            yield _warn(
                place,
                "is a listener of this process: requests would go round in circles",
                "name the service itself",
            )


def _leads_to(
    target: TargetSettings | UnixTargetSettings, address: ListenAddress, own_names: set[str]
) -> bool:
    if isinstance(target, UnixTargetSettings) or isinstance(address, UnixAddress):
        return (
            isinstance(target, UnixTargetSettings)
            and isinstance(address, UnixAddress)
            and real_path(target.path) == real_path(address.path)
        )
    if target.port != address.port or not address.host:
        return False
    listening, asked = _addresses(address), _addresses(target)
    if target.host.lower().rstrip(".") in own_names:
        everywhere = [at for at in listening if at.is_unspecified]
        if any(not asked or asked[0].version == at.version for at in everywhere):
            return True
    if not asked or not listening:
        return target.host.lower().rstrip(".") == address.host.lower().rstrip(".")
    return any(_meets(one, other) for one in asked for other in listening)


def _addresses(place: TargetSettings | TcpAddress) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of a host as far as they are known without asking anybody."""
    if is_localhost(place.host):
        return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    address = address_of(place.host.rstrip("."))
    return [] if address is None else [address]


def _meets(
    asked: ipaddress.IPv4Address | ipaddress.IPv6Address,
    listening: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> bool:
    """Return whether who asks for one address reaches who listens at the other, on this machine."""
    if asked.version != listening.version:
        return False
    if asked.is_unspecified:  # who connects there reaches loopback
        asked = ipaddress.ip_address("127.0.0.1" if asked.version == 4 else "::1")
    return asked == listening or (listening.is_unspecified and asked.is_loopback)


def _check_key_sources(settings: Settings) -> Iterator[Finding]:
    """Yield key sets that would be fetched from the admin listener, which may trust this machine."""
    for client in settings.clients.values():
        named: list[tuple[tuple[Step, ...], object]] = [(("jwks_uri",), client.keys)]
        named += [
            (("assertions", i, ("jwks_uri", "issuer")), a.keys) for i, a in enumerate(client.assertions)
        ]
        for steps, source in named:
            if not isinstance(source, RemoteKeySource) or not (source.uri or source.issuer).startswith(
                "http:"
            ):
                continue  # nothing else than http:// on loopback is plain, and the admin listener is
            place = urlsplit(source.uri or source.issuer)
            target = TargetSettings(place.hostname or "", place.port or 80)
            if _leads_to(target, settings.admin.address, set()):
                yield Finding(client.origin, steps, "is the admin listener, which has no keys of clients")


def _check_lifetimes(settings: Settings) -> Iterator[Finding]:
    issuer = settings.issuer
    named: list[tuple[Origin | None, tuple[Step, ...], float | None]] = [
        (None, ("issuer", "token_lifetime"), issuer.token_lifetime_s),
        (None, ("issuer", "assertion_max_lifetime"), issuer.assertion_max_lifetime_s),
    ]
    named += [(c.origin, ("token_lifetime",), c.token_lifetime_s) for c in settings.clients.values()]
    named += [(a.origin, ("token_lifetime",), a.token_lifetime_s) for a in settings.authorizations]
    for owner, steps, lifetime_s in named:
        if lifetime_s is not None and lifetime_s > LONGEST_LIFETIME_S:
            yield _warn(
                steps,
                "a token that leaks is of use for more than 30 days",
                "hours do: a new token costs one request",
                owner,
            )
