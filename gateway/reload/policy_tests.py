"""Run the policy tests of a compiled configuration, with tokens as its own issuer would make them.

What one test asks and finds is `gateway.policy.policy_tests`. Pure.
"""

from pathlib import Path

from gateway.clients.authorization import GrantRequest, resolve_grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.issuer.claims import build_claims
from gateway.policy.policy_tests import PolicyTestOutcome, TokenRefused, run_policy_tests
from gateway.reasons import Reason
from gateway.reload.compile import Configuration
from gateway.settings.problems import MOST_PROBLEMS, Problem, leave_out_beyond
from gateway.tokens.claims import AccessToken, ClaimProblem, read_access_token


def run_configured_tests(configuration: Configuration, *, now: float) -> tuple[PolicyTestOutcome, ...]:
    """Return the outcome of every policy test of the configuration.

    The tests' tokens come from the issuer's own rules: what a client cannot get, no test can hold.
    """
    registry = configuration.registry
    issuer = configuration.settings.issuer

    def grant_token(
        client_id: str, audience: str | None, scopes: tuple[str, ...]
    ) -> AccessToken | TokenRefused:
        client = registry.clients.get(client_id)
        if client is None or client.disabled:
            return TokenRefused(Reason.CLIENT_DISABLED, "the client is unknown or disabled")
        asked = GrantRequest(audience=audience, scope=" ".join(scopes) or None)
        granted = resolve_grant(client, asked, default_lifetime_s=issuer.token_lifetime_s, now=now)
        if isinstance(granted, OAuthProblem):
            missing = granted.code is ErrorCode.INVALID_SCOPE
            reason = Reason.MISSING_SCOPE if missing else Reason.CLIENT_NOT_ALLOWED
            return TokenRefused(reason, granted.description)
        token = read_access_token(build_claims(client, granted, issuer, jti="policy-test", now=now), "")
        if isinstance(token, ClaimProblem):
            return TokenRefused(Reason.MALFORMED_TOKEN, f"the claim {token.claim} is not {token.expected}")
        return token

    return run_policy_tests(
        configuration.settings, configuration.table, registry.grants, grant_token=grant_token, now=now
    )


def policy_test_problems(outcomes: tuple[PolicyTestOutcome, ...], path: Path) -> tuple[Problem, ...]:
    """Return a problem for each policy test that failed."""
    problems = []
    for outcome in outcomes:
        if not outcome.passed:
            file, line, column = str(path), 1, 1
            if outcome.origin is not None:
                file, line, column = outcome.origin.file, outcome.origin.line, outcome.origin.column
            message = f"the policy test expected {outcome.expected} and found {outcome.found}"
            problems.append(Problem(file, line, column, f"tests[{outcome.name}]", message))
    return leave_out_beyond(MOST_PROBLEMS, problems, str(path))
