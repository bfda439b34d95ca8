"""Make settings of the values that were read under each section's keys.

The counterpart of `gateway.settings.fields`: there the keys, here what becomes
of them. A value that was unreadable is absent; its default, or an empty text
where there is none, stands in, so that the other checks can go on.
"""

import contextlib
import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.oauth_names import GRANTS, grant_types
from gateway.observe.secret_parameters import mask_address
from gateway.settings.document import MapNode, Node, ScalarNode
from gateway.settings.kinds import Text
from gateway.settings.model import (
    Access,
    AdminSettings,
    AssertionSettings,
    AuthorizationSettings,
    Balance,
    BearerTokenSettings,
    CircuitBreakerSettings,
    ClientCertificate,
    ClientSettings,
    Forwarded,
    HealthCheckSettings,
    IssuerSettings,
    KeySettings,
    LimitBy,
    LimitSettings,
    ListenerSettings,
    LogSettings,
    MetricsSettings,
    Mode,
    OutlierSettings,
    PolicyTest,
    Rate,
    RateLimitSettings,
    RedisSettings,
    RemoteKeySource,
    RequireSettings,
    RewriteSettings,
    RouteSettings,
    StateSettings,
    StaticKeySource,
    TargetSettings,
    TcpAddress,
    TlsSettings,
    UnixTargetSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from gateway.settings.problems import SpellingError
from gateway.settings.reading import FROM_ENVIRONMENT, UNREAD, MovedToken, Reading, Schema, any_of, found
from gateway.settings.scalars import resolve_plain
from gateway.settings.sections import Section
from gateway.settings.texts import (
    choose_from,
    is_dropped_by_default,
    is_spelled_like,
    parse_file_text,
    parse_key_uri,
    parse_method,
    parse_redis_url,
)
from gateway.tokens.origins import BadAddressError, may_be_proxied, origin_of

Values = dict[str, Any]


def keep_values(values: Values, node: Node, reading: Reading) -> Values:
    """Return the values as they are, for a section that its parent takes apart."""
    return values


def make_listener(values: Values, node: Node, reading: Reading) -> ListenerSettings:
    """Return one listener; the address is empty when it could not be read."""
    serves = values.get("serves", ("issuer", "gate"))
    address = values.get("address", TcpAddress("", 0))
    return ListenerSettings(
        address,
        serves_issuer="issuer" in serves,
        serves_gate="gate" in serves,
        tls=values.get("tls"),
        proxy_protocol=values.get("proxy_protocol", False),
    )


def make_tls(values: Values, node: Node, reading: Reading) -> TlsSettings:
    """Return the server's side of TLS; a file that was not readable as a path is empty."""
    if "client_certificate" in values:
        values["client_certificate"] = ClientCertificate(values["client_certificate"])
    values.setdefault("certificate_file", Path())
    values.setdefault("key_file", Path())
    return TlsSettings(**values)


def make_bearer_token(values: Values, node: Node, reading: Reading) -> BearerTokenSettings:
    """Return one token of ours; without a readable place it may be sent nowhere."""
    return BearerTokenSettings(values["name"], values.get("file", Path()), values.get("origins", ()))


def make_admin(values: Values, node: Node, reading: Reading) -> AdminSettings:
    """Return the admin listener."""
    return AdminSettings(**values)


def make_issuer(values: Values, node: Node, reading: Reading) -> IssuerSettings:
    """Return the issuer."""
    array = values.pop("scope_claim", "string") == "array"
    anybody = values.pop("introspection", "owner_or_audience") == "any_client"
    return IssuerSettings(**values, scope_claim_as_array=array, introspection_by_any_client=anybody)


def make_client_rate(values: Values, node: Node, reading: Reading) -> Rate:
    """Return how many requests of one client the issuer answers."""
    return Rate(values.get("requests", 0), values.get("per_s", 1.0))


def make_keys(values: Values, node: Node, reading: Reading) -> KeySettings:
    """Return where the signing keys are."""
    return KeySettings(**values)


def parse_state(text: str) -> str | RedisSettings:
    """Return an empty text for `memory:`, the path of `sqlite:PATH`, or where a Redis server is."""
    if text.startswith(("redis://", "rediss://")):
        return parse_redis_url(text)
    if text == "memory:":
        return ""
    scheme, _, path = text.partition(":")
    if scheme != "sqlite" or not path:
        raise SpellingError("is not a state store", "memory:, sqlite:PATH, redis://HOST or rediss://HOST")
    return parse_file_text(path)


def place_state(directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file relative to `directory`."""
    if isinstance(where, RedisSettings):
        return StateSettings(redis=where)
    return StateSettings(directory / where if where else None)


def defer_state(_directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file as written: where data lies is known when the file is read whole."""
    return place_state(Path(), where)


def make_state(values: Values, node: Node, reading: Reading) -> StateSettings:
    """Return the state store of the mapping form."""
    state: StateSettings = values.get("url", StateSettings())
    ca_file = values.get("ca_file")
    if ca_file is not None:
        if state.redis is None or not state.redis.tls:
            reading.warn(node, "ca_file has no effect: the url is not rediss://")
        else:
            state = replace(state, redis=replace(state.redis, ca_file=ca_file))
    return replace(state, strict=values.get("consistency") == "strict")


@dataclass(frozen=True, slots=True)
class StateText(Text):
    """The state store: a URL, or a mapping that says more."""

    mapping: Section | None = None

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the store."""
        if isinstance(node, MapNode) and self.mapping is not None:
            return self.mapping.read(node, reading)
        return Text.read(self, node, reading)

    def schema(self) -> Schema:
        """Return a text or the mapping."""
        text = Text.schema(self)
        return text if self.mapping is None else any_of(text, self.mapping.schema())


def place_target(
    directory: Path, target: TargetSettings | UnixTargetSettings
) -> TargetSettings | UnixTargetSettings:
    """Return a target, the path of a unix socket relative to `directory`."""
    return UnixTargetSettings(directory / target.path) if isinstance(target, UnixTargetSettings) else target


def make_upstream_tls(values: Values, node: Node, reading: Reading) -> UpstreamTlsSettings:
    """Return how `https://` targets are verified."""
    return UpstreamTlsSettings(**values)


def make_health_check(values: Values, node: Node, reading: Reading) -> HealthCheckSettings:
    """Return how targets are asked whether they are well."""
    values.setdefault("path", "/")
    return HealthCheckSettings(**values)


def make_outlier(values: Values, node: Node, reading: Reading) -> OutlierSettings:
    """Return when a target is left out."""
    return OutlierSettings(**values)


def make_circuit_breaker(values: Values, node: Node, reading: Reading) -> CircuitBreakerSettings:
    """Return when an upstream is not asked."""
    return CircuitBreakerSettings(**values)


def make_upstream(values: Values, node: Node, reading: Reading) -> UpstreamSettings:
    """Return one upstream; it has no targets when none was readable."""
    queue = values.pop("queue", {})
    values.setdefault("targets", ())
    if (
        "tls" in values
        and values["targets"]
        and not any(isinstance(target, TargetSettings) and target.tls for target in values["targets"])
    ):
        reading.warn(node, "tls has no effect: no target is https://")
    for name in sorted(values.get("keep_headers", ())):
        if not is_dropped_by_default(name):
            reading.warn(node, f"keep_headers: {name} is forwarded anyway", "leave it out")
        if any(is_spelled_like(name, dropped) for dropped in values.get("drop_headers", ())):
            reading.error(
                node, f"keep_headers: {name} is in drop_headers, too", "leave it out of one of them"
            )
    if "balance" in values:
        values["balance"] = Balance(values["balance"])
    if "forwarded" in values:
        values["forwarded"] = Forwarded(values["forwarded"])
    return UpstreamSettings(**values, **queue)


def make_bad_tokens(values: Values, node: Node, reading: Reading) -> Rate:
    """Return how many bad tokens a peer may send."""
    known = LimitSettings().bad_tokens
    return Rate(values.get("requests", known.requests), values.get("per_s", known.per_s))


def make_auth_failures(values: Values, node: Node, reading: Reading) -> Rate:
    """Return how often a caller may be wrong about a client's secret."""
    known = LimitSettings().auth_failures
    return Rate(values.get("requests", known.requests), values.get("per_s", known.per_s))


def make_limits(values: Values, node: Node, reading: Reading) -> LimitSettings:
    """Return the limits."""
    return LimitSettings(**values)


def make_metrics(values: Values, node: Node, reading: Reading) -> MetricsSettings:
    """Return what is measured."""
    return MetricsSettings(**values)


def make_logs(values: Values, node: Node, reading: Reading) -> LogSettings:
    """Return what is logged."""
    return LogSettings(**values)


def place_log(directory: Path, text: str) -> str:
    """Return a log's destination: a word, or a path relative to `directory`."""
    return text if text in ("stdout", "stderr", "off") else str(directory / text)


def defer_path(_directory: Path, text: str) -> Path:
    """Return a path of the process's own data as written; see `defer_state`."""
    return Path(text)


def place_path(directory: Path, text: str) -> Path:
    """Return a path relative to `directory`."""
    return directory / text


# --- policy sections


GRANT_WORDS = tuple(
    dict.fromkeys(word for grant in GRANTS if grant.available for word in (grant.short, grant.grant_type))
)
"""The grants that work, in either spelling."""


def parse_grant(text: str) -> str:
    """Return the full name of a grant; each may be written short."""
    full = next((grant.grant_type for grant in GRANTS if grant.short == text), text)
    later = tuple(grant.grant_type for grant in GRANTS if not grant.available)
    return choose_from("a grant", grant_types(), later)(full)


KEY_SOURCES = ("jwks", "jwks_file", "jwks_uri")
"""How the keys of others may be given: by one of these."""


def _choose_keys(values: Values) -> tuple[str, Any]:
    """Take the keys out of the values; return what they were written as, and what was written."""
    written = [(key, value) for key in KEY_SOURCES if (value := values.pop(key, None)) is not None]
    return written[0] if written else ("", None)


def make_assertion(values: Values, node: Node, reading: Reading) -> AssertionSettings:
    """Return one identity of another platform; without keys of its own they are discovered."""
    issuer = values.setdefault("issuer", "")
    key, keys = _choose_keys(values)
    ways = {name: values.pop(name, None) for name in ("ca_file", "bearer_token", "proxy")}
    moved = values.pop("bearer_token_file", None)
    if moved is not None:
        reading.moved.append(_moved_token(moved, keys or issuer, reading))
    if not isinstance(keys, StaticKeySource):
        if not key and issuer:
            try:
                parse_key_uri(issuer)
            except SpellingError as reason:
                reading.error(
                    node,
                    f"the keys cannot be discovered: the issuer {reason.message}",
                    "name them by jwks, jwks_file or jwks_uri",
                    below="issuer",
                )
        keys = RemoteKeySource(issuer, keys, **ways)
        _check_way(keys, node, reading)
    else:
        for key in (name for name, way in ways.items() if way is not None):
            _refuse_member(node, key, "has no effect: the keys are not fetched", "leave it out", reading)
    if values.get("allow_missing_exp"):
        reading.warn(
            node, "an assertion without exp and iat never expires: whoever gets hold of one keeps it"
        )
    single_use = values.pop("replay", "single_use") == "single_use"
    return AssertionSettings(**values, keys=keys, single_use=single_use)


def _check_way(source: RemoteKeySource, node: Node, reading: Reading) -> None:
    """Note a token that its source may not be sent, and a proxy that is never asked for it."""
    address = source.uri or source.issuer
    try:
        origin, is_outside = origin_of(address), may_be_proxied(address)
    except BadAddressError:
        return  # said already
    token = source.bearer_token
    # Without an address of their own the keys may be anywhere: the metadata say where.
    if token is not None and source.uri is not None and origin not in token.origins:
        hint = f"the operator lists the origins of the token under bearer_token_files.{token.name}"
        _refuse_member(node, "bearer_token", f"this token may not be sent to {origin}", hint, reading)
    if source.proxy is not None and not is_outside:
        message = "has no effect: a proxy is never asked for http:// or loopback addresses"
        _refuse_member(node, "proxy", message, "leave it out", reading)


def _refuse_member(node: Node, key: str, message: str, hint: str, reading: Reading) -> None:
    """Note a mistake at a member of a mapping, or below the key of the mapping itself."""
    if isinstance(node, MapNode) and key in node.members:
        reading.error(node.members[key][0], message, hint)
    else:
        reading.error(node, message, hint, below=key)


def _moved_token(written: ScalarNode, address: object, reading: Reading) -> MovedToken:
    """Return where a token file was named by the identity itself, and for which origin."""
    origin = ""
    if isinstance(address, str):
        with contextlib.suppress(BadAddressError):
            origin = origin_of(address)
    return MovedToken(written, reading.directory / written.text, origin)


def make_client(values: Values, node: Node, reading: Reading) -> ClientSettings:
    """Return one client; it comes from where its id is written."""
    if not values.get("auth_methods"):
        values.pop("auth_methods", None)
    _, keys = _choose_keys(values)
    proxy = values.pop("proxy", None)
    if isinstance(keys, str):
        keys = RemoteKeySource(values.get("id", ""), keys, proxy=proxy)
        _check_way(keys, node, reading)
    elif proxy is not None:
        _refuse_member(node, "proxy", "has no effect: the keys are not fetched", "leave it out", reading)
    single_use = values.pop("replay", "single_use") == "single_use"
    values |= {"keys": keys, "single_use_assertions": single_use}
    return ClientSettings(**values, origin=reading.origin(node))


def parse_last_day(text: str) -> float:
    """Return the epoch second at which the day `YYYY-MM-DD` (UTC) is over."""
    try:
        if len(text) != 10 or not text.isascii():
            raise ValueError(text)
        day = datetime.date.fromisoformat(text)
        end = datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=1)
    except (ValueError, OverflowError):
        raise SpellingError("is not a day", "YYYY-MM-DD, the last day (UTC) on which it holds") from None
    return end.timestamp()


def make_authorization(values: Values, node: Node, reading: Reading) -> AuthorizationSettings:
    """Return one authorization."""
    values.setdefault("client", "")
    values.setdefault("audience", "")
    return AuthorizationSettings(**values, origin=reading.origin(node))


def make_require(values: Values, node: Node, reading: Reading) -> RequireSettings:
    """Return what a route requires; `audience` is the short form of one `any_audience`."""
    audience = values.pop("audience", None)
    audiences = values.pop("any_audience", frozenset())
    if audience is not None:
        audiences = frozenset({audience})
    return RequireSettings(audiences=audiences, **values)


def make_rewrite(values: Values, node: Node, reading: Reading) -> RewriteSettings:
    """Return how a route changes the path."""
    return RewriteSettings(**values)


def make_rate_limit(values: Values, node: Node, reading: Reading) -> RateLimitSettings:
    """Return a route's rate limit; its burst is one period's requests unless it is given."""
    requests = values.get("requests", 1)
    burst = values.get("burst") or requests
    return RateLimitSettings(requests, values.get("per_s", 1.0), burst, LimitBy(values.get("by", "client")))


def make_route(values: Values, node: Node, reading: Reading) -> RouteSettings:
    """Return one route; without a name it is named after its methods, host and path."""
    values.setdefault("path", "")
    values.setdefault("upstream", "")
    if "name" not in values:
        values["name"] = default_route_name(values.get("methods"), values.get("host"), values["path"])
    if "access" in values:
        values["access"] = Access(values["access"])
    if "mode" in values:
        values["mode"] = Mode(values["mode"])
    for allowed in values.pop("allow_in_path", ()):
        values["allow_" + allowed] = True
    return RouteSettings(**values, origin=reading.origin(node))


def default_route_name(methods: frozenset[str] | None, host: str | None, path: str) -> str:
    """Return the name of a route that has none: `GET,HEAD api.example.com/a/{id}`."""
    place = (host or "") + path
    return f"{','.join(sorted(methods))} {place}" if methods else place


def parse_request(text: str) -> tuple[str, str]:
    """Return method and URL of `GET /path?query` or `GET http://host/path`."""
    method, _, url = text.partition(" ")
    parse_method(method)
    absolute = url.startswith(("http://", "https://")) and bool(urlsplit(url).netloc)
    if not (url.startswith("/") or absolute) or not url.isprintable() or " " in url:
        raise SpellingError("is not a request", "METHOD and path, e.g. GET /a/b, or METHOD and absolute URL")
    return method, url


class Expectation:
    """What a policy test expects: `allow`, `deny`, `{deny: reason}` or a status."""

    label = "expectation"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self._reasons = reasons
        self._parse_reason = choose_from("a reason for a refusal", reasons)

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the matching attributes of a policy test."""
        if isinstance(node, MapNode):
            if list(node.members) == ["deny"]:
                reason = Text("a reason", self._parse_reason).read(node.members["deny"][1], reading)
                return UNREAD if reason is UNREAD else {"expect_allow": False, "expect_reason": reason}
        elif isinstance(node, ScalarNode):
            value = resolve_plain(node.text) if node.plain else node.text
            if value in ("allow", "deny"):
                return {"expect_allow": value == "allow"}
            if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:
                return {"expect_status": value}
        reading.error(
            node, f"expected an expectation, found {found(node)}", "allow, deny, {deny: reason} or a status"
        )
        return UNREAD

    def schema(self) -> Schema:
        """Return the two words, a mapping with a reason, or a status."""
        reason = any_of({"enum": list(self._reasons)}, FROM_ENVIRONMENT)
        return any_of(
            {"enum": ["allow", "deny"]},
            {
                "type": "object",
                "properties": {"deny": reason},
                "required": ["deny"],
                "additionalProperties": False,
            },
            {"type": "integer", "minimum": 200, "maximum": 599},
            FROM_ENVIRONMENT,
        )


def make_test(values: Values, node: Node, reading: Reading) -> PolicyTest:
    """Return one policy test; without a name it is named after its request."""
    method, url = values.pop("request", ("", ""))
    values.setdefault("name", f"{method} {mask_address(url)}")
    expect = values.pop("expect", {})
    return PolicyTest(**values, **expect, method=method, url=url, origin=reading.origin(node))
