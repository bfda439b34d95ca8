"""Write claims of a verified token as fields that an upstream is told.

Pure. Which claims, and under which names, an upstream's `claim_headers` say; here it is
decided how a value reads. A field says exactly what the claim says, or it is not sent:

1. Text is sent as it is, a whole number in decimal digits, a truth value as `true` or `false`.
2. A list of these is sent joined by `,`. An item that is empty or holds a comma would be read
   as none or as several, so that whoever writes the claims of one client could make its list
   say more than it holds: such a list is not sent.
3. A value is visible ASCII and has at most 1 KiB. What is not is neither escaped nor cut: the
   upstream would compare a changed value with a true one.

What a token says is remembered beside it (`gateway.proxy.told_claims`).

Sources: RFC 9110 5.5 (field values) and 5.6.1 (lists), RFC 5234 B.1 (VCHAR), RFC 7519 4.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

IDENTITY_NAMES = (b"X-Auth-Client-Id", b"X-Auth-Subject", b"X-Auth-Audience", b"X-Auth-Scope")
"""The fields that say who calls, whatever the configuration; no claim has their names."""
LONGEST_VALUE_BYTES = 1024

_VISIBLE = re.compile(r"[\x21-\x7e]*")
_LONGEST_NUMBER_BITS = LONGEST_VALUE_BYTES * 4
"""A longer number has more digits than a value may have; its text is not made at all."""


class LeftOut(StrEnum):
    """Why a claim that a token has is not sent."""

    KIND = "kind"
    """It is no text, whole number, truth value or list of these."""
    SIZE = "size"
    CHARACTERS = "characters"
    AMBIGUOUS = "ambiguous"
    """An item of the list is empty or holds a comma."""


@dataclass(frozen=True, slots=True, eq=False)
class ClaimFields:
    """What an upstream is told of a token's claims. By identity a key of what was made of it."""

    claims: tuple[tuple[bytes, str], ...]
    """The name of each field, with the claim whose value it has."""


def claim_fields_of(names: Mapping[str, str]) -> ClaimFields | None:
    """Return how an upstream is told claims, by the name of each field; None where it is told none."""
    if not names:
        return None
    return ClaimFields(tuple((name.encode("ascii"), claim) for name, claim in names.items()))


@dataclass(frozen=True, slots=True)
class ClaimLines:
    """What one token has for an upstream."""

    lines: bytes
    """Each with CRLF."""
    left_out: tuple[LeftOut, ...] = ()
    """One for each claim that the token has and that is not among `lines`."""


def write_claim_lines(fields: ClaimFields, claims: Mapping[str, object]) -> ClaimLines:
    """Return the lines for one token. A claim that it does not have is no line.

    Args:
        fields: Of the upstream.
        claims: Of a verified token.
    """
    lines, left_out = [], []
    for name, claim in fields.claims:
        if claim not in claims:
            continue
        value = write_value(claims[claim])
        if isinstance(value, LeftOut):
            left_out.append(value)
        else:
            lines.append(b"%b: %b\r\n" % (name, value))
    return ClaimLines(b"".join(lines), tuple(left_out))


def write_value(value: object) -> bytes | LeftOut:
    """Return the field value that says what a claim says, or why there is none. Never raises."""
    if type(value) is not list:
        return _write_single(value)
    items = []
    room = LONGEST_VALUE_BYTES + 1  # for the comma that the first item does not have
    for item in value:
        written = _write_single(item)
        if isinstance(written, LeftOut):
            return written
        if not written or b"," in written:
            return LeftOut.AMBIGUOUS
        room -= len(written) + 1
        if room < 0:
            return LeftOut.SIZE
        items.append(written)
    return b",".join(items)


def _write_single(value: object) -> bytes | LeftOut:
    # By `type`: to Python a truth value is a number, and what JSON does not have is of no use here.
    if type(value) is bool:
        text = "true" if value else "false"
    elif type(value) is int:
        if value.bit_length() > _LONGEST_NUMBER_BITS:
            return LeftOut.SIZE
        text = str(value)
    elif type(value) is str:
        text = value
    else:
        return LeftOut.KIND
    if len(text) > LONGEST_VALUE_BYTES:
        return LeftOut.SIZE
    return text.encode("ascii") if _VISIBLE.fullmatch(text) else LeftOut.CHARACTERS
