"""Say which values the labels of metrics can have: names of the configuration, and closed lists.

A counter whose labels are known beforehand is there at 0 before anything happens, or an
alert on its increase would miss the first failure. Which of them that are is here, because
the lists stand in the packages that use the words. Left out are those whose labels multiply
(routes by reasons by methods): of these a scraper sees what occurs.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from gateway.clients.assertions import AssertionReason
from gateway.clients.authenticate import NO_METHOD, AuthReason
from gateway.enforce.enforcer import CACHE_RESULTS
from gateway.enforce.location import ISSUER
from gateway.http1.claim_fields import LeftOut
from gateway.issuer.assertions import GRANT_METHOD
from gateway.issuer.logins import SLOWED_DOWN
from gateway.issuer.uses import KINDS
from gateway.oauth_names import CLIENT_SECRET_BASIC, CLIENT_SECRET_JWT, CLIENT_SECRET_POST, PRIVATE_KEY_JWT
from gateway.observe import families
from gateway.observe.families import Family, SeriesOf
from gateway.observe.metrics import Names
from gateway.policy.rate_limits import BAD_TOKENS, ROUTE_LIMIT
from gateway.proxy.admission import CONNECTIONS_PER_PEER
from gateway.proxy.targets import AttemptFailure
from gateway.reasons import Reason
from gateway.reload.plan import Snapshot
from gateway.reload.source import Cause, Result
from gateway.settings.model import Access, Settings
from gateway.tokens.jwks_client import FetchResult

UPSTREAM_FAILURES = (*AttemptFailure, Reason.UPSTREAM_PROTOCOL.removeprefix("upstream_"))
CODE_CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
ATTEMPTS = ("first", "retry")

_OF_SECRETS = frozenset({*AuthReason, SLOWED_DOWN}) - {AuthReason.NO_CREDENTIALS}
_OF_ASSERTIONS = frozenset(
    {
        *AssertionReason,
        AuthReason.SEVERAL_METHODS,
        AuthReason.METHOD_NOT_ALLOWED,
        AuthReason.DISABLED,
        SLOWED_DOWN,
    }
)
LOGIN_FAILURES = {
    NO_METHOD: frozenset({AuthReason.NO_CREDENTIALS}),
    CLIENT_SECRET_BASIC: _OF_SECRETS,
    CLIENT_SECRET_POST: _OF_SECRETS,
    PRIVATE_KEY_JWT: _OF_ASSERTIONS,
    CLIENT_SECRET_JWT: _OF_ASSERTIONS,
    GRANT_METHOD: _OF_ASSERTIONS,
}
"""What each way to prove a client can fail by."""


def names_in(snapshot: Snapshot) -> Names:
    """Return the names that a configuration has, by label."""
    settings = snapshot.settings
    clients = frozenset(settings.clients)
    return {
        families.ROUTE: frozenset({*(route.name for route in settings.routes), ISSUER}),
        families.UPSTREAM: frozenset({*settings.upstreams, ISSUER}),
        families.CLIENT: clients,
        families.AUDIENCE: clients,
        families.ISSUER: frozenset({settings.issuer.url, *_fetched_from(snapshot)}),
    }


def labels_at_zero(snapshot: Snapshot) -> Iterator[SeriesOf]:
    """Yield every counter that is there before anything was counted."""
    settings = snapshot.settings
    yield _each(families.CONFIG_RELOADS, Result, Cause)
    yield _each(families.UPSTREAM_ERRORS, settings.upstreams, UPSTREAM_FAILURES)
    yield _each(families.UPSTREAM_REQUESTS, settings.upstreams, CODE_CLASSES, ATTEMPTS)
    told = (upstream.name for upstream in settings.upstreams.values() if upstream.claim_headers)
    yield _each(families.CLAIMS_LEFT_OUT, told, LeftOut)
    yield _each(families.JWKS_FETCH, _fetched_from(snapshot), FetchResult)
    yield families.CLIENT_AUTH_FAILURES, _pairs(LOGIN_FAILURES)
    yield _each(families.REPLAY_REJECTED, KINDS)
    legacy = (client.id for client in settings.clients.values() if client.legacy_audience)
    yield _each(families.LEGACY_AUDIENCE, legacy)
    yield families.TOKEN_VERIFY, [(settings.issuer.url, *judged) for judged in CACHE_RESULTS]
    callers = (families.NONE, *settings.clients)
    yield _each(families.CLIENT_DECISIONS, callers, ("allow", "deny"))
    yield families.RATE_LIMITED, [(families.NONE, CONNECTIONS_PER_PEER)]
    yield _each(families.RATE_LIMITED, _limited(settings), (ROUTE_LIMIT,))
    reading = (route.name for route in settings.routes if route.access is not Access.PUBLIC)
    yield _each(families.RATE_LIMITED, reading, (BAD_TOKENS,))


def _each(family: Family, *values: Iterable[str]) -> SeriesOf:
    return family, (tuple(map(str, labels)) for labels in product(*values))


def _pairs(values: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, ...]]:
    return ((first, str(second)) for first, seconds in values.items() for second in seconds)


def _fetched_from(snapshot: Snapshot) -> Iterator[str]:
    return (source.issuer for source in snapshot.issuer.registry.remote_sources)


def _limited(settings: Settings) -> Iterator[str]:
    return (route.name for route in settings.routes if route.rate_limit is not None)
