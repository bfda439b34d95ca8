"""Run Project Wycheproof's JOSE vectors through our own key loader and verifier.

The vectors are public data (Apache-2.0) beside this repository; they are read where they
lie and never copied. Where the folder is absent there is nothing to show.

Two ways for each vector: as a whole token, and, because many of them sign a text that is
no JSON, as a signature alone, with our base64url, our key selection and our checks.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.clients.assertions import HS256, Assertion, check_mac
from gateway.clients.conditions import ClaimValues
from gateway.clients.registry import MIN_HMAC_SECRET_BYTES
from gateway.tokens.base64url import decode_base64url
from gateway.tokens.foreign_keys import read_key_set
from gateway.tokens.jwt import CompactJwt, parse_compact, parse_json_object
from gateway.tokens.key_ring import ALGORITHMS
from gateway.tokens.key_sets import KeySet, KeySetError

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "wycheproof"
SPOILED = frozenset({"signature-367", "signature-370"})
"""Meant to hold padding, which got lost: their text is that of the valid vector 357, without any.
Looked at as signatures alone they verify, rightly; as tokens they are refused (no JSON)."""
NAMES = ("json_web_signature_test.json", "json_web_key_test.json")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the vectors are not beside this repository")


def vectors() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return every vector: its name, its group and itself."""
    if not FOLDER.is_dir():
        return []
    found = []
    for name in NAMES:
        for group in json.loads((FOLDER / name).read_text("utf-8"))["testGroups"]:
            for test in group["tests"]:
                found.append((f"{name.split('_')[2]}-{test['tcId']}", group, test))
    return found


VECTORS = vectors()


def keys_of(group: dict[str, Any]) -> KeySet | None:
    """Return the group's public keys as a published key set; None when we refuse it."""
    published = group.get("public") or group["private"]
    try:
        return read_key_set(json.dumps(published).encode())
    except KeySetError:
        return None


def secrets_of(group: dict[str, Any]) -> list[bytes]:
    """Return the shared secret of a group as a client would have it; key sets never hold one for us."""
    private = group["private"]
    secret = decode_base64url(private["k"].encode()) if private.get("kty") == "oct" else None
    return [secret] if secret is not None and len(secret) >= MIN_HMAC_SECRET_BYTES else []


def verifies(group: dict[str, Any], token: CompactJwt) -> bool:
    """Return whether any key or secret that we would take for the group vouches for the token."""
    alg, kid = token.header.get("alg"), token.header.get("kid")
    if not isinstance(alg, str) or not (kid is None or isinstance(kid, str)):
        return False
    if alg == HS256:
        if "public" in group:  # whoever publishes keys has no secret with us
            return False
        return (
            check_mac(Assertion(alg, kid, "", "", token, ClaimValues(token.payload)), secrets_of(group))
            is None
        )
    keys = keys_of(group)
    found = keys.find(kid, alg) if keys is not None and alg in ALGORITHMS else ()
    return isinstance(found, tuple) and any(key.verify(token.signing_input, token.signature) for key in found)


def signature_alone(raw: bytes) -> CompactJwt | None:
    """Return the token with its payload left unread; None unless header and encoding are exact."""
    segments = raw.split(b".")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(segments) != 3 or any(segment.strip(alphabet) for segment in segments):
        return None
    decoded = [decode_base64url(segment) for segment in segments]
    if None in decoded:
        return None
    header = parse_json_object(decoded[0] or b"")
    if not isinstance(header, dict) or "crit" in header or "b64" in header:
        return None
    return CompactJwt(header, {}, raw.rpartition(b".")[0], decoded[2] or b"")


@pytest.mark.parametrize(("name", "group", "test"), VECTORS, ids=[name for name, _, _ in VECTORS])
def test_nothing_that_is_invalid_is_accepted(name: str, group: dict[str, Any], test: dict[str, Any]) -> None:
    jws = test["jws"]
    raw = (jws if isinstance(jws, str) else json.dumps(jws)).encode()
    whole = parse_compact(raw)
    alone = signature_alone(raw) if name not in SPOILED else None
    accepted = [token for token in (whole, alone) if isinstance(token, CompactJwt) and verifies(group, token)]
    if test["result"] == "invalid":
        assert accepted == []


def test_what_is_valid_and_ours_is_accepted() -> None:
    accepted = {"HS256": 0, "RS256": 0, "PS256": 0, "ES256": 0}
    for _, group, test in VECTORS:
        token = signature_alone(str(test["jws"]).encode())
        if test["result"] == "valid" and token is not None and verifies(group, token):
            accepted[str(token.header["alg"])] += 1
    assert len(VECTORS) >= 427
    assert all(accepted.values()), accepted
