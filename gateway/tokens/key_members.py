"""Read the members of other people's JSON Web Keys, however oddly they are spelled.

What can mean one thing only is taken, and brought into the one spelling that RFC 7518 has for
it, so that a key has one thumbprint whoever spelled it:

* padding behind base64url, the alphabet of plain base64 (no character of either means two
  things), stray bits behind the last octet;
* zero octets before an RSA modulus or exponent (RFC 7518 6.3.1.1 knows libraries that write
  them), too many or too few of them before the coordinate of a P-256 point (6.2.1.2);
* members that are null: they are as good as absent, and nobody signs with a `d` of null;
* a byte order mark before the text (RFC 8259 8.1), and numbers of any size: none is looked at.

What could mean two things is not taken: a key in which a member is repeated (RFC 7517 4: the
key is rejected, here without its neighbours), white space or other characters in base64url, a
set whose own members are repeated. Pure.

Sources: RFC 7517 4; RFC 7518 6.2.1, 6.3.1; RFC 4648 4 and 5; RFC 8259 4, 8.1; RFC 7638 3.
"""

import binascii
import re
from collections.abc import Mapping

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.key_ring import UnusableKeyError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}

_P256_OCTETS = 32
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]+={0,2}", re.ASCII)
_TO_STANDARD = str.maketrans("-_", "+/")


def present_members(member: Mapping[str, object]) -> dict[str, object]:
    """Return the members that say something."""
    return {name: value for name, value in member.items() if value is not None}


def public_members(kty: str, member: Mapping[str, object]) -> dict[str, str]:
    """Return `kty` and the members that make the public key, each in its one spelling.

    Args:
        kty: A key of `PUBLIC_MEMBERS`.
        member: The key, without members that are null.

    Raises:
        UnusableKeyError: One is missing, or is not what it should be.
    """
    names = PUBLIC_MEMBERS[kty]
    found: dict[str, str] = {}
    for name in names:
        value = member.get(name)
        if not isinstance(value, str):
            raise UnusableKeyError(f"its members {', '.join(names)} are not all there as text")
        found[name] = value
    curve = found.get("crv")
    for name in names:
        if name != "crv":
            found[name] = _one_spelling(name, _octets(name, found[name]), kty, curve)
    return {"kty": kty, **found}


def _octets(name: str, text: str) -> bytes:
    bare = text.rstrip("=")
    if not _BASE64.fullmatch(text) or len(bare) % 4 == 1:
        raise UnusableKeyError(f"its {name} member is not base64url")
    return binascii.a2b_base64(bare.translate(_TO_STANDARD) + "=" * (-len(bare) % 4))


def _one_spelling(name: str, octets: bytes, kty: str, curve: str | None) -> str:
    if kty == "RSA":
        octets = octets.lstrip(b"\0")
    elif curve == "P-256":
        octets = octets.lstrip(b"\0").rjust(_P256_OCTETS, b"\0")
    if not octets:
        raise UnusableKeyError(f"its {name} member is zero")
    return encode_base64url(octets).decode("ascii")
