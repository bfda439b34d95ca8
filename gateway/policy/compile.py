"""Compile route settings into the table that requests are matched with.

Templates: literal segments (compared in canonical form, so `/café` and `/caf%C3%A9` are
one), `{name}` for one non-empty segment, `/**` at the end for the rest. What could
surprise at run time is a problem here: routes that tie, that an issuer endpoint would
shadow, whose literals no accepted path can spell, or whose alternatives would make a
lookup expensive. All problems are found, not only the first.

Does not read files or resolve names (`gateway.settings`), nor look routes up
(`gateway.policy.match`).

Sources: RFC 3986 3.3 and 6.2.2, RFC 6570 (the look of `{name}` only).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.hosts import normalise_host
from gateway.policy.model import Route
from gateway.policy.paths import BadPath, canonical_path, escape_non_ascii
from gateway.policy.table import Found, MethodNotAllowed, MethodRules, PathNode, RouteTable
from gateway.settings.model import Origin, RouteSettings

MAX_SEGMENTS = 100
"""Of one template. Real ones have fewer than twenty."""
MAX_METHODS = 64
"""Of one host and path pattern: every refused method is told them all. 40 are registered at IANA."""
MAX_STEPS = 1000
"""Of one lookup: about 0.2 ms, reached only by thousands of routes made to overlap."""


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """Why a route cannot be compiled."""

    origin: Origin | None
    path: str
    """The dotted path of the setting, e.g. `routes[read-country].path`."""
    message: str
    hint: str
    keys: tuple[str, ...] = ()
    """The keys that lead to the setting from its route (without one: from the main file)."""


@dataclass(frozen=True, slots=True)
class CompiledRoutes:
    """The table of the routes that are sound, and the problems of those that are not."""

    table: RouteTable
    problems: tuple[RouteProblem, ...]


class _Parameter:
    """The mark of a `{name}` segment: all names are the same pattern."""


_PARAMETER = _Parameter()


@dataclass(frozen=True, slots=True)
class _Template:
    """A path pattern, split into what is compared segment by segment."""

    segments: tuple[str | _Parameter, ...]
    """Literals in match form; an empty last one is a trailing slash."""
    has_rest: bool


@dataclass(frozen=True, slots=True)
class _Flaw:
    """A problem that does not know yet which route and setting it belongs to."""

    message: str
    hint: str


@dataclass(slots=True, eq=False)
class _Leaf:
    """The routes that share one host and path pattern, while they are collected."""

    node: PathNode
    routes: list[tuple[RouteSettings, Route]] = field(default_factory=list)


def compile_routes(routes: Sequence[RouteSettings], *, reserved_paths: Collection[str]) -> CompiledRoutes:
    """Return the route table and every problem found.

    Args:
        routes: In the order of the files; it has no meaning for matching.
        reserved_paths: The issuer endpoints with their prefix, when a listener serves both
            issuer and gate; else empty.
    """
    problems: list[RouteProblem] = []
    hosts: dict[str, PathNode] = {"": PathNode()}
    leaves: dict[int, _Leaf] = {}
    compiled: list[Route] = []
    reserved = [path.split("/")[1:] for path in reserved_paths]
    for settings in routes:
        flaws = list(_flaws_of_settings(settings))
        host = _host_key(settings.host)
        if isinstance(host, _Flaw):
            flaws.append(("host", host))
        template = _parse_template(settings.path, opaque_slash=settings.allow_opaque_slash)
        if isinstance(template, _Flaw):
            flaws.append(("path", template))
        else:
            flaws.extend(_conflicts_with_issuer(template, reserved))
            if isinstance(host, str):
                leaf_node = _grow(hosts.setdefault(host, PathNode()), template)
                leaf = leaves.setdefault(id(leaf_node), _Leaf(leaf_node))
                tied = _tie(settings, leaf)
                crowded = _crowd(settings, leaf)
                if crowded is not None:
                    flaws.append(("methods", crowded))
                elif tied is not None:
                    flaws.append(("path", tied))
                elif not flaws:
                    route = _route(settings)
                    leaf.routes.append((settings, route))
                    compiled.append(route)
        problems.extend(_problem(settings, key, flaw) for key, flaw in flaws)
    for leaf in leaves.values():
        if leaf.routes:
            leaf.node.rules = _method_rules([route for _, route in leaf.routes])
    max_steps = max(map(_max_steps, hosts.values()))
    if max_steps > MAX_STEPS:
        problems.append(
            RouteProblem(
                None,
                "routes",
                f"finding a route could take {max_steps} steps, at most {MAX_STEPS} are accepted",
                "too many routes offer a literal and a {name} at the same places: merge some of them",
                ("routes",),
            )
        )
    any_host = hosts.pop("")
    return CompiledRoutes(
        RouteTable(
            exact_hosts={host: node for host, node in hosts.items() if not host.startswith(".")},
            wildcard_hosts={host: node for host, node in hosts.items() if host.startswith(".")},
            any_host=any_host,
            routes=tuple(compiled),
            max_steps=max_steps,
        ),
        tuple(problems),
    )


def _problem(settings: RouteSettings, key: str, flaw: _Flaw) -> RouteProblem:
    path = f"routes[{settings.name}].{key}"
    return RouteProblem(settings.origin, path, flaw.message, flaw.hint, tuple(key.split(".")))


def _route(settings: RouteSettings) -> Route:
    audiences = settings.require.audiences
    return Route(
        name=settings.name,
        upstream=settings.upstream,
        path=settings.path,
        host=settings.host,
        methods=settings.methods,
        access=settings.access,
        mode=settings.mode,
        require=settings.require,
        rewrite=replace(
            settings.rewrite,
            strip_prefix=_canonical_prefix(settings.rewrite.strip_prefix),
            add_prefix=_canonical_prefix(settings.rewrite.add_prefix),
        ),
        timeout_s=settings.timeout_s,
        allow_encoded_slash=settings.allow_encoded_slash or settings.allow_opaque_slash,
        allow_opaque_slash=settings.allow_opaque_slash,
        allow_parameters=settings.allow_parameters,
        upgrade=settings.upgrade,
        realm=min(audiences, default=""),
        rate_limit=settings.rate_limit,
    )


# --- hosts -----------------------------------------------------------------------


def _host_key(host: str | None) -> str | _Flaw:
    """Return the key of a host pattern: empty for any, `.example.com` for a wildcard, else the host."""
    if host is None:
        return ""
    name = host.removeprefix("*.")
    normalised = normalise_host(name.encode("utf-8", "surrogatepass"))
    if normalised is None or (normalised != name.lower() and not name.startswith("[")):
        return _Flaw(
            f"{host!r} is not a host pattern",
            "write a host name without port and trailing dot, *.example.com, or leave host out for any host",
        )
    if name is not host and name != host:
        return "." + normalised
    return normalised


# --- templates -------------------------------------------------------------------

_PARAMETER_SEGMENT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}").fullmatch


def _parse_template(path: str, *, opaque_slash: bool) -> _Template | _Flaw:
    if not path.startswith("/"):
        return _Flaw("the path must begin with /", f"write /{path}")
    texts = path[1:].split("/")
    has_rest = texts[-1] == "**"
    if has_rest:
        texts.pop()
    if len(texts) > MAX_SEGMENTS:
        return _Flaw(f"the path has more than {MAX_SEGMENTS} segments", "end it with /** earlier")
    segments: list[str | _Parameter] = []
    names: set[str] = set()
    for position, text in enumerate(texts):
        if not text and (has_rest or position + 1 < len(texts)):
            return _Flaw("the path holds an empty segment (//)", "remove one slash; no request path has it")
        if "{" in text or "}" in text:
            parameter = _PARAMETER_SEGMENT(text)
            if parameter is None:
                return _Flaw(
                    f"segment {text!r} is not a parameter",
                    "{name} fills a whole segment, its name is a letter or _, then letters, digits, _ or -; "
                    "a literal brace is written %7B or %7D",
                )
            if parameter[1] in names:
                return _Flaw(f"parameter {text} appears twice", "give each parameter its own name")
            names.add(parameter[1])
            segments.append(_PARAMETER)
        else:
            literal = _literal(text, opaque_slash=opaque_slash)
            if isinstance(literal, _Flaw):
                return literal
            segments.append(literal)
    return _Template(tuple(segments), has_rest)


def _literal(text: str, *, opaque_slash: bool) -> str | _Flaw:
    """Return a literal segment in match form, or why no accepted path could ever spell it."""
    if "*" in text:
        return _Flaw(
            f"segment {text!r} holds a *",
            "use {name} for one segment or /** at the end for the rest; a literal star is written %2A",
        )
    canonical = canonical_path(b"/" + escape_non_ascii(text))
    if isinstance(canonical, BadPath):
        return _Flaw(
            f"segment {text!r} cannot be part of a request path: {canonical.detail}",
            "write it as a client would send it; such requests are refused before any route is looked for",
        )
    if canonical.has_parameters:
        return _Flaw(
            f"segment {text!r} holds a ;",
            "parameters are cut off before matching: leave them out and set allow_in_path: [parameters]",
        )
    if canonical.has_encoded_slash and not opaque_slash:
        return _Flaw(
            f"segment {text!r} holds an encoded slash, which leads elsewhere once it is decoded",
            "allow_in_path: [opaque_slash], if the service never decodes it; else write /",
        )
    return canonical.match_text[1:]


def _grow(root: PathNode, template: _Template) -> PathNode:
    """Return the node where `template` ends, adding what is missing below `root`."""
    node = root
    for segment in template.segments:
        if isinstance(segment, str):
            following = node.literals.get(segment)
            if following is None:
                following = node.literals[segment] = PathNode()
        else:
            following = node.parameter = node.parameter or PathNode()
        node = following
    if template.has_rest:
        node.rest = node.rest or PathNode()
        return node.rest
    return node


def _max_steps(node: PathNode) -> int:
    """Return the most nodes that one lookup can visit from `node` on."""
    steps = 1
    if node.literals:
        steps += max(map(_max_steps, node.literals.values()))
    if node.parameter is not None:
        steps += _max_steps(node.parameter)
    return steps + (node.rest is not None)


# --- conflicts -------------------------------------------------------------------


def _tie(settings: RouteSettings, leaf: _Leaf) -> _Flaw | None:
    """Return the flaw when an earlier route has the same patterns and a method in common."""
    for other, _ in leaf.routes:
        if settings.methods is None or other.methods is None:
            common = settings.methods or other.methods
        else:
            common = settings.methods & other.methods
            if not common:
                continue
        methods = ", ".join(sorted(common)) if common else "all methods"
        return _Flaw(
            f"ties with route {other.name!r} ({_place(other.origin)}): same host and path pattern, "
            f"both take {methods}",
            "give the two routes different methods, hosts or paths, or merge them",
        )
    return None


def _crowd(settings: RouteSettings, leaf: _Leaf) -> _Flaw | None:
    """Return the flaw when a route and the earlier ones of the same patterns take too many methods."""
    taken = sum(len(other.methods or ()) for other, _ in leaf.routes) + len(settings.methods or ())
    if taken <= MAX_METHODS:
        return None
    return _Flaw(
        f"the routes of this host and path take more than {MAX_METHODS} methods",
        "leave methods out for all, or name fewer",
    )


def _place(origin: Origin | None) -> str:
    return f"{origin.file}:{origin.line}:{origin.column}" if origin else "place unknown"


def _conflicts_with_issuer(template: _Template, reserved: list[list[str]]) -> Iterator[tuple[str, _Flaw]]:
    """Yield the flaw when an issuer endpoint would hide a part of the route.

    A template without any literal, like `/**`, says "everything else" and is no conflict;
    one that spells a part of the endpoint's path means a place that is taken. Reasons:
    docs/decisions/0002-issuer-paths-and-catch-alls.md.
    """
    if _is_catch_all(template):
        return
    for path in reserved:
        if _covers(template, path):
            yield (
                "path",
                _Flaw(
                    f"the issuer's endpoint /{'/'.join(path)} would hide a part of this route",
                    "mount the issuer elsewhere (issuer.path_prefix), give issuer and gate a listener each, "
                    "or change the path",
                ),
            )
            return


def is_routed(routes: Sequence[RouteSettings], path: str) -> bool:
    """Return whether some route means `path`: any that can match it, but for a catch-all of every host."""
    segments = path.split("/")[1:]
    for settings in routes:
        template = _parse_template(settings.path, opaque_slash=settings.allow_opaque_slash)
        if isinstance(template, _Flaw) or not _covers(template, segments):
            continue
        if settings.host is not None or not _is_catch_all(template):
            return True
    return False


def _is_catch_all(template: _Template) -> bool:
    return template.has_rest and not any(isinstance(segment, str) for segment in template.segments)


def _covers(template: _Template, path: list[str]) -> bool:
    segments = template.segments
    if len(path) < len(segments) or (len(path) > len(segments) and not template.has_rest):
        return False
    return all(
        bool(text) if isinstance(segment, _Parameter) else segment == text
        for segment, text in zip(segments, path, strict=False)
    )


# --- methods and rewrites --------------------------------------------------------


def _method_rules(routes: list[Route]) -> MethodRules:
    by_method: dict[str, Found] = {}
    for route in routes:
        found = Found(route)
        if route.methods is None:
            return MethodRules({}, found)  # alone here: with any other it would tie
        by_method.update(dict.fromkeys(route.methods, found))
    return MethodRules(by_method, MethodNotAllowed(tuple(sorted(by_method))))


def _flaws_of_settings(settings: RouteSettings) -> Iterator[tuple[str, _Flaw]]:
    if settings.methods is not None and not settings.methods:
        yield "methods", _Flaw("the list of methods is empty", "name a method, or leave it out for all")
    prefixes: Mapping[str, str] = {
        "strip_prefix": settings.rewrite.strip_prefix,
        "add_prefix": settings.rewrite.add_prefix,
    }
    for key, prefix in prefixes.items():
        if not prefix:
            continue
        canonical = canonical_path(escape_non_ascii(prefix))
        detail = canonical.detail if isinstance(canonical, BadPath) else ""
        if not isinstance(canonical, BadPath) and canonical.has_parameters:
            detail = "the path holds ; parameters"
        if detail:
            yield f"rewrite.{key}", _Flaw(f"{prefix!r} is not a path: {detail}", "write it like /a/b")


def _canonical_prefix(prefix: str) -> str:
    """Return a prefix in canonical form without a trailing slash; flawless ones only."""
    canonical = canonical_path(escape_non_ascii(prefix or "/"))
    assert not isinstance(canonical, BadPath), "routes with flaws are not compiled"
    return canonical.text.rstrip("/")
