"""Find out which client is calling, and have it prove that.

Two steps: `read_credentials` takes what the request presents apart without looking
anything up; `authenticate` compares a secret with the registry (a signed assertion is
judged by `gateway.issuer.assertions`). Unknown client, wrong secret and a client
without secrets get one answer at one cost. Only a caller that has proven the secret
learns anything more precise.

Pure but for the scrypt worker, which is passed in.

Sources: RFC 6749 2.3, 2.3.1 and 5.2; RFC 7521 4.2; RFC 7523 2.2; RFC 7617 2.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.clients.assertions import AssertionReason
from gateway.clients.failure_costs import ScryptCost
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient, Registry
from gateway.clients.secrets import check_quick_secrets
from gateway.oauth_names import ASSERTION_TYPE, CLIENT_SECRET_BASIC, CLIENT_SECRET_POST, PRIVATE_KEY_JWT
from gateway.settings.model import ScryptSecret
from gateway.tokens.percent import decode_form_text

NO_METHOD = "none"
"""The method's name when no credentials were sent."""

_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class AuthReason(StrEnum):
    """Why client authentication failed: a closed list, for metrics and logs only."""

    NO_CREDENTIALS = "no_credentials"
    MALFORMED = "malformed"
    SEVERAL_METHODS = "several_methods"
    UNKNOWN_CLIENT = "unknown_client"
    WRONG_SECRET = "wrong_secret"  # noqa: S105  # a label
    METHOD_NOT_ALLOWED = "method_not_allowed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class PresentedSecret:
    """A client id and the secret sent with it."""

    method: str
    client_id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PresentedAssertion:
    """A signed assertion by which a client says who it is."""

    raw: bytes = field(repr=False)
    client_id: str | None
    """The `client_id` sent beside it; it must be the same client (RFC 7521 4.2)."""
    method: str = PRIVATE_KEY_JWT
    """Until the assertion's `alg` tells."""


@dataclass(frozen=True, slots=True)
class ProvenClient:
    """A client that has proven who it is, and how."""

    client: RegisteredClient
    method: str


@dataclass(frozen=True, slots=True)
class AuthFailure:
    """A failed authentication: what the caller is told, and what we keep to ourselves."""

    method: str
    reason: AuthReason | AssertionReason
    problem: OAuthProblem
    client_id: str | None = None
    """The client that was named, if it exists."""
    retry_after_s: int | None = None
    """Set where it is a matter of how much the caller sends: it is told 429, and to wait so long."""

    @property
    def is_guess(self) -> bool:
        """Return whether it counts as an attempt to find a secret.

        Exactly what is answered alike counts alike: by `reason`, the count would tell which
        clients exist and how they are secured.
        """
        return self.problem is NOT_PROVEN


class ScryptChecker(Protocol):
    """What runs scrypt for us; `gateway.clients.scrypt_worker.ScryptWorker` in the process."""

    async def check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost], *, peer: str
    ) -> bool:
        """Return whether `given` is one of `stored`; a failure also computes `padding`. Peers take turns."""


def read_credentials(
    authorization: Sequence[str], form: Mapping[str, str]
) -> PresentedSecret | PresentedAssertion | AuthFailure:
    """Return the one secret or assertion that a request presents.

    Args:
        authorization: The values of all its `Authorization` fields.
        form: Its form parameters, empty ones left out.
    """
    asserted = "client_assertion" in form or "client_assertion_type" in form
    methods = len(authorization) + ("client_secret" in form) + asserted
    if methods > 1:
        return AuthFailure(
            CLIENT_SECRET_BASIC if authorization else PRIVATE_KEY_JWT,
            AuthReason.SEVERAL_METHODS,
            OAuthProblem(
                ErrorCode.INVALID_REQUEST,
                "Authorization, client_secret, client_assertion: send one method of client "
                "authentication only",
            ),
        )
    if asserted:
        return _read_assertion(form)
    if authorization:
        return _read_basic(authorization[0], form)
    return _read_post(form)


def _read_assertion(form: Mapping[str, str]) -> PresentedAssertion | AuthFailure:
    assertion, kind = form.get("client_assertion"), form.get("client_assertion_type")
    if assertion is None or kind is None:
        absent = "client_assertion" if assertion is None else "client_assertion_type"
        problem = OAuthProblem(
            ErrorCode.INVALID_REQUEST, f"{absent}: is missing; assertion and its type go together"
        )
        return AuthFailure(PRIVATE_KEY_JWT, AuthReason.MALFORMED, problem)
    if kind != ASSERTION_TYPE:
        # An authentication method that is not supported (RFC 6749 5.2).
        problem = OAuthProblem(ErrorCode.INVALID_CLIENT, f"client_assertion_type: must be {ASSERTION_TYPE}")
        return AuthFailure(PRIVATE_KEY_JWT, AuthReason.MALFORMED, problem)
    return PresentedAssertion(assertion.encode(), form.get("client_id"))


def _read_post(form: Mapping[str, str]) -> PresentedSecret | AuthFailure:
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if client_id is not None and secret is not None:
        return PresentedSecret(CLIENT_SECRET_POST, client_id, secret.encode())
    if secret is not None:
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "client_id: is missing beside client_secret")
        return AuthFailure(CLIENT_SECRET_POST, AuthReason.MALFORMED, problem)
    problem = OAuthProblem(
        ErrorCode.INVALID_CLIENT,
        "client authentication is missing: send HTTP Basic, client_id and client_secret in the form, "
        "or a client_assertion",
    )
    return AuthFailure(NO_METHOD, AuthReason.NO_CREDENTIALS, problem)


def _read_basic(value: str, form: Mapping[str, str]) -> PresentedSecret | AuthFailure:
    credentials = _decode_basic(value)
    if credentials is None:
        problem = OAuthProblem(
            ErrorCode.INVALID_CLIENT,
            "Authorization: must be Basic with base64 of form-encoded client id, colon, form-encoded secret",
        )
        return AuthFailure(CLIENT_SECRET_BASIC, AuthReason.MALFORMED, problem)
    client_id, secret = credentials
    if form.get("client_id", client_id) != client_id:
        problem = OAuthProblem(
            ErrorCode.INVALID_REQUEST, "client_id: is not the client id of the Authorization field"
        )
        return AuthFailure(CLIENT_SECRET_BASIC, AuthReason.SEVERAL_METHODS, problem)
    return PresentedSecret(CLIENT_SECRET_BASIC, client_id, secret.encode())


def _decode_basic(value: str) -> tuple[str, str] | None:
    """Return id and secret of a Basic credential, or None when it is malformed.

    RFC 6749 2.3.1: both are form-encoded before they are joined, so the first colon
    is the separator and each half is decoded afterwards.
    """
    encoded = _BASIC.fullmatch(value.strip(" \t"))
    if encoded is None:
        return None
    try:
        text = binascii.a2b_base64(encoded[1], strict_mode=True).decode("utf-8")
        client_id, colon, secret = text.partition(":")
        if not colon or not client_id or _BAD_ESCAPE.search(text):
            return None
        return decode_form_text(client_id), decode_form_text(secret)
    except ValueError:
        return None


async def authenticate(
    presented: PresentedSecret, registry: Registry, scrypt: ScryptChecker, *, peer: str
) -> ProvenClient | AuthFailure:
    """Return the client that `presented` proves, or the failure.

    Args:
        presented: The client id and the secret.
        registry: The known clients.
        scrypt: Takes the slow checks.
        peer: Who is calling, as limits count callers.

    Raises:
        OverloadedError: From `scrypt`, when a scrypt check is due and its queue is full.
    """
    client = registry.clients.get(presented.client_id, registry.nobody)
    proven = check_quick_secrets(presented.secret, client.quick_secrets, tries=registry.quick_tries)
    if not proven and (client.scrypt_secrets or client.scrypt_padding):
        proven = await scrypt.check(presented.secret, client.scrypt_secrets, client.scrypt_padding, peer=peer)
    if client is registry.nobody:
        return AuthFailure(presented.method, AuthReason.UNKNOWN_CLIENT, NOT_PROVEN)
    if not proven:
        # Told to the operator alone: a client that has keys and no secret was set up for another method.
        has_keys_alone = client.auth_methods and not (client.quick_secrets or client.scrypt_secrets)
        reason = AuthReason.METHOD_NOT_ALLOWED if has_keys_alone else AuthReason.WRONG_SECRET
        return AuthFailure(presented.method, reason, NOT_PROVEN, client.id)
    return admit_proven(client, presented.method)


def admit_proven(client: RegisteredClient, method: str) -> ProvenClient | AuthFailure:
    """Return a client that has proven itself by `method`, unless it is disabled or may not use that."""
    if client.disabled:
        problem = OAuthProblem(ErrorCode.INVALID_CLIENT, "the client is disabled")
        return AuthFailure(method, AuthReason.DISABLED, problem, client.id)
    if method not in client.auth_methods:
        allowed = ", ".join(sorted(client.auth_methods)) or "no method"
        problem = OAuthProblem(ErrorCode.INVALID_CLIENT, f"the client must authenticate with {allowed}")
        return AuthFailure(method, AuthReason.METHOD_NOT_ALLOWED, problem, client.id)
    return ProvenClient(client, method)


NOT_PROVEN = OAuthProblem(
    ErrorCode.INVALID_CLIENT, "client authentication failed: unknown client or wrong secret"
)
"""The one answer to whoever has not proven anything."""
