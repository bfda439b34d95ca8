"""Run the `tests:` of the policy files against compiled routes and grants.

Each test is one request, judged by the functions the gate uses (`gateway.policy.evaluate`).
Its token comes from the issuer's own granting rules, handed in as a function, so a test
cannot hold a token that the client could not get. What a test without `scopes` asks for:
everything the client is granted for the audience. So `expect: deny` without scopes means
"whatever it asks for", and cannot pass only because the test forgot to ask.

A client that would get no token is refused for the reason the issuer has for it. Shadow
mode is not looked at: a test shows what the rule says. Reading the files is
`gateway.settings`' matter, printing outcomes the command line's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.hosts import normalise_host
from gateway.policy.decide import decide
from gateway.policy.evaluate import locate
from gateway.policy.model import Decision, Grants, Route
from gateway.policy.paths import escape_non_ascii
from gateway.policy.table import RouteTable
from gateway.reasons import Reason
from gateway.settings.model import Access, Origin, PolicyTest, Settings
from gateway.tokens.claims import AccessToken, ClaimProblem, read_access_token


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """There is no such token: the issuer would not give it, or it would not pass the verifier."""

    reason: Reason
    """What the gate would say to it. For the issuer's errors: client_not_allowed for `invalid_target`,
    missing_scope for `invalid_scope`, client_disabled for a disabled client."""
    detail: str


GrantToken = Callable[[str, str | None, tuple[str, ...]], AccessToken | TokenRefused]
"""(client, audience or None for its default, scopes) -> the token the issuer would give."""


@dataclass(frozen=True, slots=True)
class PolicyTestOutcome:
    """What one test expected and what it got."""

    name: str
    origin: Origin | None
    passed: bool
    expected: str
    decision: Decision

    @property
    def status(self) -> int:
        """Return the status the gate would answer with; 200 stands for every allowed request."""
        return self.decision.reason.status

    @property
    def found(self) -> str:
        """Return the outcome in the words of `expect:`."""
        if self.decision.permits:
            return f"allow ({self.decision.reason})"
        return f"deny: {self.decision.reason} ({self.status})"


def run_policy_tests(
    settings: Settings, table: RouteTable, grants: Grants, *, grant_token: GrantToken, now: float
) -> tuple[PolicyTestOutcome, ...]:
    """Return one outcome per test, in order.

    Args:
        settings: Of which only `tests` are read.
        table: The compiled routes.
        grants: What every client is granted.
        grant_token: The issuer's granting rules.
        now: Wall-clock seconds since the epoch.
    """
    outcomes = []
    for test in settings.tests:
        decision = _judge(test, table, grants, grant_token, now)
        outcomes.append(
            PolicyTestOutcome(
                name=test.name,
                origin=test.origin,
                passed=_meets(test, decision),
                expected=_expectation(test),
                decision=decision,
            )
        )
    return tuple(outcomes)


def _judge(
    test: PolicyTest, table: RouteTable, grants: Grants, grant_token: GrantToken, now: float
) -> Decision:
    target = split_url(test.url)
    if target is None:
        return Decision(Reason.BAD_FRAMING, expected="a path or an http(s) URL", found="neither")
    host, path = target
    located = locate(table, host, path, test.method)
    if isinstance(located, Decision):
        return located
    route = located.route
    if route.access is Access.PUBLIC:
        return decide(route, None, grants=grants, now=now)
    token = _token_of(test, route, grants, grant_token, now)
    if isinstance(token, TokenRefused):
        return Decision(token.reason, route.label, expected="a token from the issuer", found=token.detail)
    return decide(route, token, grants=grants, now=now)


def split_url(url: str) -> tuple[str, bytes] | None:
    """Return (normalised host or empty, path without query) of a test's or explanation's URL, or None.

    Nothing is resolved or tidied: dots and escapes must reach the gate's own rules.
    """
    host = ""
    rest = url
    for scheme in ("http://", "https://"):
        if url[: len(scheme)].lower() == scheme:
            authority, slash, tail = url[len(scheme) :].partition("/")
            authority, question, _ = authority.partition("?")
            normalised = normalise_host(authority.encode("utf-8", "surrogatepass"))
            if normalised is None:
                return None
            host = normalised
            # RFC 9112 3.2.1: an empty path is sent as a slash.
            rest = "/" if question or not slash else "/" + tail
    return host, escape_non_ascii(rest.partition("?")[0])


def _token_of(
    test: PolicyTest, route: Route, grants: Grants, grant_token: GrantToken, now: float
) -> AccessToken | TokenRefused | None:
    token = None
    if test.client is not None:
        audience = test.audience or _default_audience(route, grants, test.client)
        scopes = test.scopes
        if scopes is None:
            client = grants.get(test.client)
            grant = client.audiences.get(audience) if client and audience else None
            scopes = tuple(sorted(grant.scopes)) if grant else ()
        granted = grant_token(test.client, audience, scopes)
        if isinstance(granted, TokenRefused):
            return granted
        token = granted
    if test.claims is None:
        return token
    return _token_with(test, token, route, now)


def _default_audience(route: Route, grants: Grants, client_id: str) -> str | None:
    """Return the route's audience; of several the first by name that the client may call."""
    client = grants.get(client_id)
    callable_audiences = route.require.audiences & client.audiences.keys() if client else frozenset()
    return min(callable_audiences, default=route.realm or None)


def _token_with(
    test: PolicyTest, token: AccessToken | None, route: Route, now: float
) -> AccessToken | TokenRefused:
    """Return a token with the claims the test writes down, over those of `token` if there is one.

    What an access token needs beyond them is filled in; signature and issuer are taken as good.
    """
    written = test.claims or {}
    identity = written.get("client_id", written.get("sub"))
    payload: dict[str, object] = {"jti": "policy-test", "iat": int(now), "exp": int(now) + 60}
    if token is not None:
        payload |= token.claims
    else:
        payload |= {"client_id": identity, "sub": identity, "aud": test.audience or route.realm}
        if test.scopes:
            payload["scope"] = " ".join(test.scopes)
    payload |= {name: list(v) if isinstance(v, tuple) else v for name, v in written.items()}
    read = read_access_token(payload, "")
    if isinstance(read, ClaimProblem):
        return TokenRefused(Reason.MALFORMED_TOKEN, f"the claim {read.claim} is not {read.expected}")
    if now >= read.expires_at:
        return TokenRefused(Reason.EXPIRED, "the claim exp has passed")
    if now < read.not_before:
        return TokenRefused(Reason.NOT_YET_VALID, "the claim nbf lies ahead")
    return read


def _meets(test: PolicyTest, decision: Decision) -> bool:
    return (
        test.expect_allow in (None, decision.permits)
        and test.expect_reason in (None, decision.reason)
        and test.expect_status in (None, decision.reason.status)
    )


def _expectation(test: PolicyTest) -> str:
    if test.expect_status is not None:
        return f"status {test.expect_status}"
    if test.expect_reason is not None:
        unmet = "" if Reason(test.expect_reason).by_rule else " (which rules alone never give)"
        return f"deny: {test.expect_reason}{unmet}"
    return "allow" if test.expect_allow else "deny"
