"""Show the effective configuration as YAML in the contract's words, secrets masked.

What comes out loads again as the same configuration, save for the secrets: every
process key is written with its value, every policy entry with what is set.
"""

import datetime
from collections.abc import Mapping
from typing import Any

import yaml

from gateway.observe.secret_parameters import mask_address
from gateway.settings.limit_keys import LIMITS
from gateway.settings.model import (
    Access,
    AssertionSettings,
    AuthorizationSettings,
    CircuitBreakerSettings,
    ClientSettings,
    HealthCheckSettings,
    KeySource,
    Mode,
    PlainSecret,
    PolicyTest,
    Rate,
    RateLimitSettings,
    RemoteKeySource,
    RouteSettings,
    ScryptSecret,
    Secret,
    Settings,
    Sha256Secret,
    StateSettings,
    StaticKeySource,
    TlsSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from gateway.settings.quantities import format_duration, format_size
from gateway.settings.scalars import resolve_plain
from gateway.tokens.configured_keys import keys_of
from gateway.tokens.key_sets import KeySet

MASK = "********"
_DAY = datetime.timedelta(days=1)


def effective(settings: Settings) -> str:
    """Return the whole configuration as YAML text; no secret is in it."""
    return yaml.dump(
        _settings(settings),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.2 reads it back as text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out instead of pointing from one to the other."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quoted = not isinstance(resolve_plain(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_text)


def _settings(settings: Settings) -> dict[str, Any]:
    issuer, logs = settings.issuer, settings.logs
    token_file = settings.admin.token_file
    shown: dict[str, Any] = {
        "version": 1,
        "listeners": [
            {
                "address": str(listener.address),
                "serves": [
                    *(["issuer"] if listener.serves_issuer else []),
                    *(["gate"] if listener.serves_gate else []),
                ],
                "proxy_protocol": listener.proxy_protocol,
                "behind_tls": listener.behind_tls,
                "tls": None if listener.tls is None else _server_tls(listener.tls),
            }
            for listener in settings.listeners
        ],
        "admin": {
            "address": str(settings.admin.address),
            "hosts": list(settings.admin.hosts),
            "token_file": None if token_file is None else str(token_file),
        },
        "issuer": {
            "url": issuer.url,
            "path_prefix": issuer.path_prefix,
            "token_lifetime": format_duration(issuer.token_lifetime_s),
            "signing_algorithm": issuer.signing_algorithm,
            "scope_claim": "array" if issuer.scope_claim_as_array else "string",
            "introspection": "any_client" if issuer.introspection_by_any_client else "owner_or_audience",
            "assertion_max_lifetime": format_duration(issuer.assertion_max_lifetime_s),
            "clock_skew": format_duration(issuer.clock_skew_s),
            "cors_origins": list(issuer.cors_origins),
            "rate_limit": None if issuer.rate_limit is None else _rate(issuer.rate_limit),
        },
        "keys": {
            "directory": str(settings.keys.directory),
            "publish_ahead": format_duration(settings.keys.publish_ahead_s),
        },
        "state": _state(settings.state),
        "data_directory": str(settings.data_directory),
        "secrets_directory": str(settings.secrets_directory),
        "bearer_token_files": {
            name: {"file": str(token.file), "origins": list(token.origins)}
            for name, token in settings.bearer_token_files.items()
        },
        "key_set_proxies": {name: proxy.url for name, proxy in settings.key_set_proxies.items()},
        "policy_environment": list(settings.policy_environment),
        "upstreams": {name: _upstream(upstream) for name, upstream in settings.upstreams.items()},
        "limits": _limits(settings),
        "metrics": {
            "buckets": None if settings.metrics.buckets is None else list(settings.metrics.buckets),
            "label_limit": settings.metrics.label_limit,
            "route_histograms": settings.metrics.route_histograms,
        },
        "logs": {"level": logs.level, "access": logs.access, "format": logs.format, "query": logs.query},
        "drain_timeout": format_duration(settings.drain_timeout_s),
        "shutdown_delay": None
        if settings.shutdown_delay_s is None
        else format_duration(settings.shutdown_delay_s),
        "trusted_proxies": list(settings.trusted_proxies),
        "policies": [],
        "clients": {name: _client(client) for name, client in settings.clients.items()},
        "authorizations": [_authorization(item) for item in settings.authorizations],
        "routes": [_route(route) for route in settings.routes],
        "tests": [_test(test) for test in settings.tests],
    }
    return shown


def _state(state: StateSettings) -> str | dict[str, Any]:
    url = "memory:" if state.sqlite_path is None else f"sqlite:{state.sqlite_path}"
    ca_file = None
    if state.redis is not None:
        url = state.redis.shown_url
        ca_file = state.redis.ca_file
    if not state.strict and ca_file is None:
        return url
    shown = {"url": url, "consistency": "strict" if state.strict else "cached"}
    return shown if ca_file is None else {**shown, "ca_file": str(ca_file)}


def _server_tls(tls: TlsSettings) -> dict[str, Any]:
    ca_file = tls.client_ca_file
    return {
        "certificate_file": str(tls.certificate_file),
        "key_file": str(tls.key_file),
        "client_certificate": str(tls.client_certificate),
        "client_ca_file": None if ca_file is None else str(ca_file),
    }


def _upstream(upstream: UpstreamSettings) -> dict[str, Any]:
    return {
        "targets": [target.url for target in upstream.targets],
        "balance": str(upstream.balance),
        "host": upstream.host,
        "forward_token": upstream.forward_token,
        "identity_headers": upstream.identity_headers,
        "forwarded": str(upstream.forwarded),
        "keep_headers": sorted(upstream.keep_headers),
        "drop_headers": sorted(upstream.drop_headers),
        "connect_timeout": format_duration(upstream.connect_timeout_s),
        "response_timeout": format_duration(upstream.response_timeout_s),
        "idle_timeout": format_duration(upstream.idle_timeout_s),
        "max_connections": upstream.max_connections,
        "queue": {"size": upstream.queue_size, "timeout": format_duration(upstream.queue_timeout_s)},
        "retries": upstream.retries,
        **_upstream_tls(upstream),
        "health_check": _health_check(upstream.health_check),
        "outlier": {
            "consecutive_failures": upstream.outlier.consecutive_failures,
            "ejection": format_duration(upstream.outlier.ejection_s),
        },
        "circuit_breaker": _circuit_breaker(upstream.circuit_breaker),
    }


def _upstream_tls(upstream: UpstreamSettings) -> dict[str, Any]:
    tls = upstream.tls
    if tls == UpstreamTlsSettings():
        return {}
    paths = {
        "ca_file": tls.ca_file,
        "certificate_file": tls.certificate_file,
        "key_file": tls.key_file,
    }
    shown = {key: None if path is None else str(path) for key, path in paths.items()}
    return {"tls": {**shown, "server_name": tls.server_name}}


def _health_check(check: HealthCheckSettings | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {
        "path": mask_address(check.path),
        "interval": format_duration(check.interval_s),
        "timeout": format_duration(check.timeout_s),
        "unhealthy_after": check.unhealthy_after,
        "healthy_after": check.healthy_after,
    }


def _circuit_breaker(breaker: CircuitBreakerSettings | None) -> dict[str, Any] | None:
    if breaker is None:
        return None
    return {
        "failure_ratio": breaker.failure_ratio,
        "window": format_duration(breaker.window_s),
        "minimum": breaker.minimum,
        "open": format_duration(breaker.open_s),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"requests": rate.requests, "per": format_duration(rate.per_s)}


def _limits(settings: Settings) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for item in LIMITS.fields:
        if item.available:
            attribute = item.attribute or item.key
            value = getattr(settings.limits, attribute)
            if attribute.endswith("_s"):
                value = format_duration(value)
            elif isinstance(value, Rate):
                value = _rate(value)
            elif attribute.endswith("_bytes"):
                value = format_size(value) if value else 0
            shown[item.key] = value
    return shown


def _client(client: ClientSettings) -> dict[str, Any]:
    return _without_unset(
        {
            "description": client.description,
            "scopes": dict(client.scopes),
            "secrets": [_mask(secret) for secret in client.secrets],
            "default_audience": client.default_audience,
            "token_lifetime": _duration(client.token_lifetime_s),
            "grants": _sorted(client.grants),
            "auth_methods": _sorted(client.auth_methods),
            "claims": dict(client.claims),
            "disabled": client.disabled or None,
            **_keys(client.keys),
            "replay": None if client.single_use_assertions else "allow",
            "require_jti": client.require_jti or None,
            "legacy_audience": client.legacy_audience or None,
            "assertions": [_assertion(item) for item in client.assertions],
        }
    )


def _keys(source: KeySource | None) -> dict[str, Any]:
    match source:
        case None:
            return {}
        case StaticKeySource():
            return {"jwks": _public_keys(keys_of(source))}
        case RemoteKeySource():
            return {
                "jwks_uri": None if source.uri is None else mask_address(source.uri),
                "ca_file": None if source.ca_file is None else str(source.ca_file),
                "bearer_token": None if source.bearer_token is None else source.bearer_token.name,
                "proxy": None if source.proxy is None else source.proxy.name,
            }


def _public_keys(keys: KeySet) -> dict[str, Any]:
    """Return the keys that are used, made of what was read of them: their public members.

    What was passed over, private and symmetric keys among it, is not shown.
    """
    shown = []
    for entry in keys.keys:
        members = dict(entry.key.public_jwk)
        named = {} if entry.kid is None else {"kid": entry.kid}
        shown.append({name: value for name, value in members.items() if name != "kid"} | named)
    return {"keys": shown}


def _assertion(item: AssertionSettings) -> dict[str, Any]:
    return _without_unset(
        {
            "issuer": mask_address(item.issuer),
            "subject": item.subject,
            "audience": item.audience,
            "claims": {name: list(values) for name, values in item.claims.items()},
            **_keys(item.keys),
            "replay": None if item.single_use else "allow",
            "allow_missing_exp": item.allow_missing_exp or None,
        }
    )


def _mask(secret: Secret) -> str:
    """Return a secret's form without what it holds."""
    match secret:
        case Sha256Secret():
            return f"sha256:{MASK}"
        case ScryptSecret(n, r, p):
            return f"scrypt:{n}:{r}:{p}:{MASK}"
        case PlainSecret(source=source):
            return f"{source}:{MASK}"


def _authorization(item: AuthorizationSettings) -> dict[str, Any]:
    last_day = None
    if item.until is not None:
        last_day = str((datetime.datetime.fromtimestamp(item.until, datetime.UTC) - _DAY).date())
    return _without_unset(
        {
            "client": item.client,
            "audience": item.audience,
            "scopes": list(item.scopes),
            "default_scopes": list(item.default_scopes),
            "token_lifetime": _duration(item.token_lifetime_s),
            "until": last_day,
        }
    )


def _route(route: RouteSettings) -> dict[str, Any]:
    require = route.require
    one = len(require.audiences) == 1
    allowed = {
        "encoded_slash": route.allow_encoded_slash,
        "opaque_slash": route.allow_opaque_slash,
        "parameters": route.allow_parameters,
    }
    shown = {
        "name": route.name,
        "host": route.host,
        "path": route.path,
        "methods": _sorted(route.methods),
        "upstream": route.upstream,
        "access": str(route.access) if route.access is not Access.REQUIRED else None,
        "require": _without_unset(
            {
                "audience": next(iter(require.audiences)) if one else None,
                "any_audience": None if one else sorted(require.audiences),
                "scopes": sorted(require.scopes),
                "any_scopes": sorted(require.any_scopes),
                "claims": {name: list(values) for name, values in require.claims.items()},
                "clients": sorted(require.clients),
            }
        ),
        "rewrite": _without_unset(
            {"strip_prefix": route.rewrite.strip_prefix, "add_prefix": route.rewrite.add_prefix}
        ),
        "timeout": _duration(route.timeout_s),
        "rate_limit": None if route.rate_limit is None else _rate_limit(route.rate_limit),
        "allow_in_path": [word for word, is_allowed in allowed.items() if is_allowed],
        "upgrade": sorted(route.upgrade),
        "mode": str(route.mode) if route.mode is not Mode.ENFORCE else None,
    }
    return _without_unset(shown)


def _rate_limit(limit: RateLimitSettings) -> dict[str, Any]:
    return {
        "requests": limit.requests,
        "per": format_duration(limit.per_s),
        "burst": limit.burst,
        "by": str(limit.by),
    }


def _test(test: PolicyTest) -> dict[str, Any]:
    expect: Any = test.expect_status
    if test.expect_reason is not None:
        expect = {"deny": test.expect_reason}
    elif test.expect_allow is not None:
        expect = "allow" if test.expect_allow else "deny"
    shown = _without_unset(
        {
            "name": test.name,
            "request": f"{test.method} {mask_address(test.url)}",
            "client": test.client,
            "audience": test.audience,
            "expect": expect,
        }
    )
    # Here empty is not unset: no scopes asked for, or a token without claims.
    if test.scopes is not None:
        shown["scopes"] = list(test.scopes)
    if test.claims is not None:
        shown["claims"] = dict(test.claims)
    return shown


def _without_unset(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say something: not None, not empty."""
    return {key: value for key, value in members.items() if value is not None and value not in ("", [], {})}


def _sorted(words: frozenset[str] | None) -> list[str] | None:
    return None if words is None else sorted(words)


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)
