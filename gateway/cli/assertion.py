"""Carry out `assertion`: sign a JWT that proves who a client is.

Sources: RFC 7523 2 and 3, RFC 7518 3.2, draft-ietf-oauth-rfc7523bis (the issuer alone
as `aud`, explicit `typ`).
"""

import hmac
import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import click

from gateway.cli.failure import CommandError
from gateway.oauth_names import MIN_HMAC_SECRET_BYTES
from gateway.tokens.base64url import encode_base64url
from gateway.tokens.key_ring import SigningKey
from gateway.tokens.keyfiles import KeyDirectoryError, read_signing_key
from gateway.tokens.signing import sign_compact

CLIENT_AUTHENTICATION = "client-authentication+jwt"
GRANT = "JWT"
_LIFETIME_S = 60


def assertion_command(
    *,
    key_file: Path,
    algorithm: str | None,
    issuer: str,
    subject: str,
    audience: str,
    lifetime_s: int,
    for_grant: bool,
) -> None:
    """Print an assertion signed with the key of a file."""
    claims = build_assertion_claims(
        issuer=issuer,
        subject=subject,
        audience=audience,
        now=int(time.time()),
        lifetime_s=lifetime_s,
        jti=secrets.token_urlsafe(16),
    )
    typ = GRANT if for_grant else CLIENT_AUTHENTICATION
    click.echo(sign_compact(read_assertion_key(key_file, algorithm), claims, typ=typ).decode("ascii"))


def sign_as_client(client_id: str, issuer: str, proof: Path | str) -> str:
    """Return an assertion by which a client proves itself to an issuer now.

    Args:
        client_id: Who it is.
        issuer: The issuer's URL: whom the assertion is for.
        proof: The file of its private key, or its secret.

    Raises:
        CommandError: The file holds no key that can sign, or the secret is too short.
    """
    claims = build_assertion_claims(
        issuer=client_id,
        subject=client_id,
        audience=issuer,
        now=int(time.time()),
        lifetime_s=_LIFETIME_S,
        jti=secrets.token_urlsafe(16),
    )
    if isinstance(proof, str):
        return sign_with_secret(proof, claims).decode("ascii")
    return sign_compact(read_assertion_key(proof, None), claims, typ=CLIENT_AUTHENTICATION).decode("ascii")


def build_assertion_claims(
    *, issuer: str, subject: str, audience: str, now: int, lifetime_s: int, jti: str
) -> dict[str, object]:
    """Return the claims of an assertion that holds from `now` on."""
    return {
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_s,
        "jti": jti,
    }


def read_assertion_key(path: Path, algorithm: str | None) -> SigningKey:
    """Return the key of a PEM or JWK file; without `algorithm`, the one that is usual for its type.

    Raises:
        CommandError: The file holds no key that can sign.
    """
    try:
        return read_signing_key(path, algorithm)
    except KeyDirectoryError as error:
        raise CommandError(str(error)) from error


def sign_with_secret(secret: str, claims: Mapping[str, object]) -> bytes:
    """Return `claims` as an assertion of `client_secret_jwt`: signed with HS256.

    Raises:
        CommandError: The secret is too short for it (RFC 7518 3.2).
    """
    key = secret.encode()
    if len(key) < MIN_HMAC_SECRET_BYTES:
        raise CommandError(f"client_secret_jwt needs a secret of {MIN_HMAC_SECRET_BYTES} bytes or more")
    header = {"alg": "HS256", "typ": CLIENT_AUTHENTICATION}
    parts = (encode_base64url(json.dumps(part).encode()) for part in (header, claims))
    signing_input = b".".join(parts)
    return signing_input + b"." + encode_base64url(hmac.digest(key, signing_input, "sha256"))
