"""Read the key sets of others: public keys that vouch for clients and workloads.

A key set comes from a file, a URL or the configuration and is judged as a whole once,
when it is read; fetching it is `gateway.tokens.jwks_client`. Pure: no I/O, no clock.

What is taken and what is not:

0. Odd spellings that mean one thing only are taken (`gateway.tokens.key_members`).
1. Keys that are not for us are passed over, as RFC 7517 5 wants: unknown types and
   curves, keys for encryption, keys too weak, symmetric keys (a published secret is
   none, and an RSA key must never become an HMAC secret), keys whose private half the
   set gives away, there or under another name (whoever can read the set could sign).
2. Every key has exactly one algorithm (RFC 8725 3.1). It follows from the type; an
   RSA key without `alg` is RS256.
3. A key beyond a cap (members of a set, bits of an RSA key, keys without `kid`) is left
   out, and so is every one of different keys with one `kid`: which of them is meant would
   depend on the order of a list. The rest of the set counts. What is left out is told
   apart from what is passed over, because its owner expects that it counts.
4. A token names its key by `kid`, or by the key's RFC 7638 thumbprint. A token without
   `kid` is tried with two keys of its algorithm, those without a name first. So a
   signature costs at most two verifications, whatever a set holds.

Sources: RFC 7517 4 and 5; RFC 7638; RFC 8725 3.1, 3.8; SPIFFE JWT-SVID and bundle (`use`).
"""

import re
from collections.abc import Iterable, Mapping

from gateway.tokens.jwt import JwtProblem, parse_key_set_object
from gateway.tokens.key_members import BYTE_ORDER_MARK, PUBLIC_MEMBERS, present_members, public_members
from gateway.tokens.key_objects import (
    WRONG_TYPE,
    algorithms_of,
    choose_algorithm,
    make_verification,
    public_key_of,
    thumbprint_of,
)
from gateway.tokens.key_ring import TooLargeKeyError, UnusableKeyError
from gateway.tokens.key_sets import MAX_TRIED, ForeignKey, KeySet, KeySetError

MAX_SET_BYTES = 512 * 1024
MAX_KEYS = 256
"""Members of a set that are looked at."""
MAX_RSA_BITS = 4096
"""A check costs its owner nothing and us the square of the bits: 2.2 ms at 16 384, 0.1 ms here."""
MAX_KID = 512
"""Characters; a key with a longer name is not taken."""

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SIGNATURE_USES = ("sig", "jwt-svid")
_WITHOUT_ALG = "RS256"
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


def read_key_set(octets: bytes) -> KeySet:
    """Return the usable keys of a JWK Set; a single JWK is a set of one.

    Raises:
        KeySetError: It is no JWK Set, or holds no usable key.
    """
    if len(octets) > MAX_SET_BYTES:
        raise KeySetError(f"is larger than {MAX_SET_BYTES // 1024} KiB")
    document = parse_key_set_object(octets.removeprefix(BYTE_ORDER_MARK))
    if isinstance(document, JwtProblem):
        raise KeySetError("is not a JSON object without repeated members")
    members = document.get("keys", [document] if "kty" in document else None)
    if not isinstance(members, list):
        raise KeySetError("has no array `keys`")
    keys: dict[int, ForeignKey] = {}
    passed_over: list[str] = []
    left_out: list[str] = []
    for index, member in enumerate(members[:MAX_KEYS]):
        try:
            keys[index] = _read_key(member)
        except TooLargeKeyError as reason:
            left_out.append(f"keys[{index}]: {reason}")
        except UnusableKeyError as reason:
            passed_over.append(f"keys[{index}]: {reason}")
    passed_over += _remove_given_away(keys, members)
    if len(members) > MAX_KEYS:
        left_out.append(f"keys[{MAX_KEYS}] to keys[{len(members) - 1}]: of a set, {MAX_KEYS} keys are read")
    left_out += _remove_ambiguous(keys)
    left_out += _remove_nameless(keys)
    if not keys:
        because = f": {'; '.join((*left_out, *passed_over)[:3])}" if left_out or passed_over else ""
        raise KeySetError(f"holds no usable key{because}")
    return KeySet(tuple(keys.values()), tuple(passed_over), tuple(left_out))


def _remove_given_away(keys: dict[int, ForeignKey], members: list[object]) -> Iterable[str]:
    """Take out the keys whose private half another member of the set holds; return why, one text each."""
    given_away: dict[str, int] = {}
    for index, member in enumerate(members[:MAX_KEYS]):
        if isinstance(member, Mapping) and (thumbprint := _given_away(present_members(member))):
            given_away.setdefault(thumbprint, index)
    reasons = []
    for index, entry in list(keys.items()) if given_away else ():
        if entry.key.kid in given_away:
            reasons.append(f"keys[{index}]: keys[{given_away[entry.key.kid]}] gives away its private half")
            del keys[index]
    return reasons


def _given_away(member: Mapping[str, object]) -> str:
    """Return the thumbprint of the public half of a key with a private one; else, or if it has none, ""."""
    kty = member.get("kty")
    if _PRIVATE_MEMBERS.isdisjoint(member) or not isinstance(kty, str) or kty not in PUBLIC_MEMBERS:
        return ""
    try:
        return thumbprint_of(public_members(kty, member))
    except UnusableKeyError:
        return ""


def _remove_ambiguous(keys: dict[int, ForeignKey]) -> Iterable[str]:
    """Take out the keys that share a `kid` with another key; return why, one text for each `kid`.

    One key that is listed twice is not ambiguous.
    """
    named: dict[str, list[int]] = {}
    for index, entry in keys.items():
        if entry.kid is not None:
            named.setdefault(entry.kid, []).append(index)
    reasons = []
    for indices in named.values():
        if len({(keys[index].key.kid, keys[index].key.alg) for index in indices}) == 1:
            continue
        places = ", ".join(f"keys[{index}]" for index in indices[:4]) + (" …" if len(indices) > 4 else "")
        reasons.append(f"{places}: {len(indices)} different keys have one kid; give each a name of its own")
        for index in indices:
            del keys[index]
    return reasons


def _remove_nameless(keys: dict[int, ForeignKey]) -> Iterable[str]:
    """Take out keys without `kid` beyond those that a token can be tried with; return why."""
    reasons = []
    known: dict[str, set[str]] = {}
    for index, entry in list(keys.items()):
        if entry.kid is not None:
            continue
        of_algorithm = known.setdefault(entry.key.alg, set())
        of_algorithm.add(entry.key.kid)
        if len(of_algorithm) > MAX_TRIED:
            of_algorithm.remove(entry.key.kid)
            del keys[index]
            text = f"it is one of more than {MAX_TRIED} keys of {entry.key.alg} without kid; give it one"
            reasons.append(f"keys[{index}]: {text}")
    return reasons


def _read_kid(member: Mapping[str, object]) -> str | None:
    """Return the name of a key, or None when it has none; halves of characters are in no token's `kid`."""
    kid = member.get("kid")
    if kid is None:
        return None
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID or _HALF_A_CHARACTER.search(kid):
        raise UnusableKeyError(f"its kid is not a text of 1 to {MAX_KID} characters")
    return kid


def _read_key(member: object) -> ForeignKey:
    """Return one key of a set, made of its public members alone."""
    if not isinstance(member, Mapping):
        raise UnusableKeyError("it is not a JSON object without repeated members")
    member = present_members(member)
    kid, kty = _read_kid(member), member.get("kty")
    if not isinstance(kty, str) or kty not in PUBLIC_MEMBERS:
        raise UnusableKeyError(WRONG_TYPE)
    if not _PRIVATE_MEMBERS.isdisjoint(member):
        raise UnusableKeyError("it gives away its private half, so anybody could sign with it")
    if member.get("use", "sig") not in _SIGNATURE_USES:
        raise UnusableKeyError("its use member says that it is not for signatures")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeyError("its key_ops member says that it is not for verifying")
    members = public_members(kty, member)
    key = public_key_of(members)
    alg = choose_algorithm(algorithms_of(key), member.get("alg"), preferred=_WITHOUT_ALG)
    return ForeignKey(kid, make_verification(key, alg, members, max_rsa_bits=MAX_RSA_BITS))
