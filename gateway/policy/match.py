"""Find the route for a host, a canonical path and a method.

The most specific route wins, whatever the order of the files: first the host (exact,
then the longest wildcard, then any; once a host has routes there is no fall-back to a
wider host), then the path segment by segment (literal, then `{name}`, then `/**`, with
backtracking), then the method. A path that has routes but none for the method is
`MethodNotAllowed`, never a wider path's route.

The cost depends on the number of segments, not on the number of routes: each step is
one dict lookup. Backtracking visits a node at most once, and the table knows a bound
for it (`RouteTable.max_steps`) that the compiler keeps small.

There is no memo here: looking one up (0.25 µs: the key's strings have to be hashed)
saves too little of a search (0.8 µs for four segments) to earn its memory.

Sources: RFC 9110 15.5.6 (405). Wildcards stand for one or more labels, as Envoy's do.
"""

from gateway.policy.paths import CanonicalPath
from gateway.policy.table import Match, NoRoute, PathNode, RouteTable

NO_ROUTE = NoRoute()


def find_route(table: RouteTable, host: str, path: CanonicalPath, method: str) -> Match:
    """Return the route for this request, or why there is none.

    Args:
        table: The compiled routes.
        host: As `gateway.hosts.normalise_host` returns it.
        path: The canonical path; what its flags forbid is the caller's to refuse.
        method: In the case of the wire; methods are case-sensitive.
    """
    node = table.exact_hosts.get(host) or find_wider_host(table, host)
    segments = path.match_text.split("/")
    count = len(segments)
    depth = 1  # segments[0] is the empty text before the leading slash
    passed_over: list[tuple[int, PathNode]] = []
    while True:
        if depth == count:
            # `/x/**` also matches `/x`: nothing is left for it, and that is enough.
            rules = node.rules or (node.rest and node.rest.rules)
            if rules:
                return rules.by_method.get(method, rules.otherwise)
        else:
            segment = segments[depth]
            depth += 1
            following = node.literals.get(segment)
            if node.rest is not None:
                passed_over.append((count, node.rest))
            if node.parameter is not None and segment:
                if following is None:
                    following = node.parameter
                else:
                    passed_over.append((depth, node.parameter))
            if following is not None:
                node = following
                continue
        if not passed_over:
            return NO_ROUTE
        depth, node = passed_over.pop()


def find_wider_host(table: RouteTable, host: str) -> PathNode:
    """Return the routes for a host that has none of its own: the longest wildcard's, else any host's."""
    if table.wildcard_hosts:
        dot = host.find(".", 1)
        while dot != -1:
            node = table.wildcard_hosts.get(host[dot:])
            if node is not None:
                return node
            dot = host.find(".", dot + 1)
    return table.any_host
