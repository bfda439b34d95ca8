"""List the keys of routes, and make settings of them."""

from gateway.settings.document import Node
from gateway.settings.kinds import OneOrMore, Text, Whole
from gateway.settings.model import (
    Access,
    LimitBy,
    Mode,
    RateLimitSettings,
    RequireSettings,
    RewriteSettings,
    RouteSettings,
)
from gateway.settings.reading import Reading
from gateway.settings.sections import Field, ListOf, MapOf, Section
from gateway.settings.shared_kinds import CLIENT_ID, CLIENT_SET, SCOPE_SET, TIMEOUT, Values, later_key, one_of
from gateway.settings.texts import (
    parse_claim_name,
    parse_host_pattern,
    parse_method,
    parse_name,
    parse_path_prefix,
    parse_path_template,
    parse_protocol,
)


def make_require(values: Values, node: Node, reading: Reading) -> RequireSettings:
    """Return what a route requires; `audience` is the short form of one `any_audience`."""
    audience = values.pop("audience", None)
    audiences = values.pop("any_audience", frozenset())
    if audience is not None:
        audiences = frozenset({audience})
    return RequireSettings(audiences=audiences, **values)


REQUIRE = Section(
    "requirement",
    (
        Field("audience", CLIENT_ID, "The audience that the token must be for.", attribute="audience"),
        Field("any_audience", CLIENT_SET, "Several audiences, of which one will do.", "[]"),
        Field("scopes", SCOPE_SET, "Scopes that the token must have, all of them.", "[]"),
        Field("any_scopes", SCOPE_SET, "Scopes of which it must have at least one.", "[]"),
        Field(
            "claims",
            MapOf("mapping of claims", parse_claim_name, OneOrMore()),
            "Claims that must be equal to the value, or to one of a list of values.",
            "{}",
        ),
        Field(
            "clients",
            CLIENT_SET,
            "The only clients that may call. Empty: every client with the rights.",
            "[]",
        ),
    ),
    make_require,
    one_of=(("audience", "any_audience"),),
)


def make_rewrite(values: Values, node: Node, reading: Reading) -> RewriteSettings:
    """Return how a route changes the path."""
    return RewriteSettings(**values)


REWRITE = Section(
    "rewrite",
    (
        Field(
            "strip_prefix",
            Text("path prefix", parse_path_prefix),
            "Taken from the beginning of the path.",
            '""',
        ),
        Field("add_prefix", Text("path prefix", parse_path_prefix), "Put before what is left.", '""'),
    ),
    make_rewrite,
)


def make_rate_limit(values: Values, node: Node, reading: Reading) -> RateLimitSettings:
    """Return a route's rate limit; its burst is one period's requests unless it is given."""
    requests = values.get("requests", 1)
    burst = values.get("burst") or requests
    return RateLimitSettings(requests, values.get("per_s", 1.0), burst, LimitBy(values.get("by", "client")))


RATE_LIMIT = Section(
    "rate limit",
    (
        Field(
            "requests", Whole(1, 10_000_000), "How many requests per period in the long run.", required=True
        ),
        Field("per", TIMEOUT, "The period.", attribute="per_s", required=True),
        Field("burst", Whole(1, 10_000_000), "How many at once after a pause. Default: `requests`."),
        Field(
            "by",
            one_of("client", "peer", "route"),
            "Whose requests are counted together: those of one `client` (by its token; without one, of its "
            "address), of one `peer` (its address; IPv6: its /64), or all of the `route`.",
            "client",
        ),
    ),
    make_rate_limit,
)


def default_route_name(methods: frozenset[str] | None, host: str | None, path: str) -> str:
    """Return the name of a route that has none: `GET,HEAD api.example.com/a/{id}`."""
    place = (host or "") + path
    return f"{','.join(sorted(methods))} {place}" if methods else place


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


ROUTE = Section(
    "route",
    (
        Field(
            "name",
            Text("name", parse_name),
            "For logs, metrics and explanations. Default: from methods, host, path.",
        ),
        Field(
            "host",
            Text("host", parse_host_pattern),
            "Only requests for this host, or with `*.example.com` for every name below it.",
            "null",
        ),
        Field(
            "path",
            Text("path", parse_path_template),
            "Exact segments, `{name}` for any one segment, `/**` at the end for the rest (`/x/**` also "
            "matches `/x`). The most specific route wins, wherever it is written.",
            required=True,
        ),
        Field(
            "methods",
            ListOf(
                "list of methods",
                Text("method", parse_method),
                1,
                frozenset,
                "leave the key out for all methods",
            ),
            "Only these methods; GET does not imply HEAD. Null: all methods.",
            "null",
        ),
        Field(
            "upstream", Text("name", parse_name), "The upstream that allowed requests go to.", required=True
        ),
        Field("require", REQUIRE, "What the caller's token must grant."),
        Field(
            "access",
            one_of("required", "optional", "public"),
            "`required`: no token, no entry. `optional`: a token that is sent is checked, none is fine. "
            "`public`: no token is looked at, and `require` is not allowed.",
            "required",
        ),
        Field(
            "rewrite",
            REWRITE,
            "How the path changes on its way to the upstream.",
            '{strip_prefix: "", add_prefix: ""}',
        ),
        Field(
            "timeout",
            TIMEOUT,
            "Until the head of the response, in place of the upstream's `response_timeout`.",
            "null",
            "timeout_s",
        ),
        Field(
            "allow_in_path",
            ListOf("list of exceptions", one_of("encoded_slash", "opaque_slash", "parameters")),
            "What is let through although it is refused elsewhere: `encoded_slash` (`%2F`, where the path "
            "leads to this very route also when it is read as `/`), `opaque_slash` (any `%2F`: the service "
            "never decodes it), `parameters` (`;`: the service cuts them off).",
            "[]",
        ),
        Field(
            "mode",
            one_of("enforce", "shadow"),
            "`shadow`: refusals of the token, scope, claim and client checks are recorded, not carried "
            "out. A warning.",
            "enforce",
        ),
        Field(
            "upgrade",
            ListOf("list of protocols", Text("protocol", parse_protocol), into=frozenset),
            "Protocols that may be switched to, e.g. `[websocket]`; the field is dropped for all others, and "
            "beside a body it is 400 for these. Never HTTP or TLS (`h2c`, `HTTP/2.0`, `TLS/1.0`).",
            "[]",
        ),
        Field(
            "rate_limit",
            RATE_LIMIT,
            "How many allowed requests a client, a caller's address or all callers together may make; "
            "beyond it 429. Null: no limit.",
            "null",
        ),
        later_key("resource_metadata", "Publish RFC 9728 metadata for this route.", "false"),
    ),
    make_route,
)
