"""Show that every refusal is explained, and challenged exactly where RFC 6750 wants it."""

from dataclasses import replace

import pytest

from gateway.enforce.challenge import refusal_for
from gateway.policy.compile import compile_routes
from gateway.policy.model import Decision, Route
from gateway.reasons import REFUSALS, Reason
from gateway.settings.model import RequireSettings, RouteSettings


def route(audience: str = "countries") -> Route:
    settings = RouteSettings("r", "/r", "up", require=RequireSettings(audiences=frozenset({audience})))
    compiled = compile_routes((settings,), reserved_paths=frozenset())
    return next(iter(compiled.table.routes))


@pytest.mark.parametrize("reason", REFUSALS)
def test_every_refusal(reason: Reason) -> None:
    refusal = refusal_for(Decision(reason, needed_scopes=("read",), allowed_methods=("GET",)))
    assert refusal.reason == reason
    assert refusal.status == reason.status
    assert 400 <= refusal.status <= 599
    assert refusal.detail
    assert refusal.detail.isascii()
    fields = dict(refusal.fields)
    assert (b"WWW-Authenticate" in fields) == (
        refusal.status == 401 or reason in (Reason.MISSING_SCOPE, Reason.DUPLICATE_AUTHORIZATION)
    )
    assert (b"Allow" in fields) == (refusal.status == 405)
    if refusal.status == 503:
        assert int(fields[b"Retry-After"]) > 0
    for value in fields.values():
        assert b"\r" not in value
        assert b"\n" not in value


def test_every_detail_may_stand_in_an_error_description() -> None:
    # RFC 6750 3: %x20-21 / %x23-5B / %x5D-7E.
    for reason in Reason:
        assert all(" " <= c <= "~" and c not in '"\\' for c in reason.detail), reason


@pytest.mark.parametrize(
    ("reason", "challenge"),
    [
        (Reason.NO_TOKEN, b'Bearer realm="countries"'),
        (
            Reason.DUPLICATE_AUTHORIZATION,
            b'Bearer realm="countries", error="invalid_request", error_description="%b"'
            % Reason.DUPLICATE_AUTHORIZATION.detail.encode(),
        ),
        (
            Reason.EXPIRED,
            b'Bearer realm="countries", error="invalid_token", error_description="%b"'
            % Reason.EXPIRED.detail.encode(),
        ),
        (
            Reason.MISSING_SCOPE,
            b'Bearer realm="countries", error="insufficient_scope", error_description="%b", scope="r w"'
            % Reason.MISSING_SCOPE.detail.encode(),
        ),
    ],
)
def test_challenges(reason: Reason, challenge: bytes) -> None:
    refusal = refusal_for(Decision(reason, route(), needed_scopes=("r", "w")))
    assert refusal.fields == ((b"WWW-Authenticate", challenge),)


@pytest.mark.parametrize("audience", ["https://a.example/x", 'a"b', "a\\b", "a, error=x", "//a"])
def test_the_realm_is_quoted(audience: str) -> None:
    ((_, challenge),) = refusal_for(Decision(Reason.NO_TOKEN, route(audience))).fields
    quoted = audience.replace("\\", "\\\\").replace('"', '\\"')
    assert challenge == f'Bearer realm="{quoted}"'.encode()


def test_a_bad_path_says_what_is_wrong_with_it() -> None:
    refusal = refusal_for(Decision(Reason.BAD_PATH, found="an empty segment"))
    assert refusal.detail == "The path is refused: an empty segment."


def test_allow_lists_the_methods() -> None:
    decision = Decision(Reason.METHOD_NOT_ALLOWED, allowed_methods=("GET", "HEAD"))
    assert refusal_for(decision).fields == ((b"Allow", b"GET, HEAD"),)
    assert refusal_for(replace(decision, allowed_methods=("PUT",))).fields == ((b"Allow", b"PUT"),)
