"""Say in one sentence what is wrong with a head that is refused, so that its sender can mend it.

Reads only what is refused already, so it decides nothing and costs no good request
anything. It names kinds of characters, positions and remedies, and quotes nothing that
the sender sent. Pure.

Sources: RFC 9112 2.2, 3, 3.2 and 5; RFC 3986 2.1 (percent-encoding); RFC 8446 5.1.
"""

import re

from gateway.http1 import grammar

_ENDS = re.compile(rb"[!-~]+ (.*) HTTP/[0-9](?:\.[0-9])?(?:\r\n|\Z)", re.DOTALL)
"""A request line whose ends are sound: what lies between them is the target."""

_ENCODED = {
    b" ": "a space as %20",
    b'"': "a quotation mark as %22",
    b"<": "< as %3C",
    b">": "> as %3E",
    b"\\": "a backslash as %5C",
    b"#": "# as %23 (a fragment is not sent at all)",
}
_TLS_HANDSHAKE = b"\x16\x03"
"""RFC 8446 5.1: type and version of the record that a TLS client sends first."""
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def what_is_wrong_with_start(data: bytes) -> str:
    """Return why `data`, which `grammar.METHOD_START` does not match, is the start of no request."""
    if data.startswith(_TLS_HANDSHAKE):
        return "TLS is spoken to a port for plain HTTP: use http://, or a port that has TLS"
    return "it does not begin with a method of at most 32 letters and a space"


def what_is_wrong_with_line(line: bytes) -> str:
    """Return why `line`, which `grammar.REQUEST_LINE` does not match, is no request line.

    Args:
        line: Up to its first LF, or more.
    """
    line = line[: line.find(b"\n") + 1] or line
    if not grammar.METHOD_START.match(line):
        return what_is_wrong_with_start(line)
    if not line.endswith(b"\r\n"):
        return "a line does not end in CRLF"
    between = _ENDS.fullmatch(line)
    if between is None:
        if b" HTTP/" not in line:
            return "the request line does not end in HTTP/1.1"
        return "the request line is not a method, a target and HTTP/1.1 with one space between them"
    target = between[1]
    if not target.strip(b" ") or target != target.strip(b" "):
        return "there is more than one space between the parts of the request line"
    return _what_is_wrong_with_target(target)


def _what_is_wrong_with_target(target: bytes) -> str:
    remedies = [remedy for character, remedy in _ENCODED.items() if character in target]
    if _BEYOND_ASCII.search(target):
        remedies.append("what is not ASCII as its bytes in UTF-8, such as %C3%A9")
    if _CONTROL.search(target):
        remedies.append("a control character by its number, such as %09 for a tab")
    if not remedies:
        return "the request line is malformed"
    return "the request target holds what must be percent-encoded: " + ", ".join(remedies)


_NAME = grammar.TCHAR + rb"+"
_SYMPTOMS = (
    (re.compile(rb"[ \t]"), "it begins with white space; put each field in one line"),
    (re.compile(rb"(?!.*:)", re.DOTALL), "it has no colon"),
    (re.compile(rb":"), "it has no name before the colon"),
    (re.compile(_NAME + rb"[ \t]+:"), "there is white space before the colon"),
    (re.compile(rb"(?!" + _NAME + rb":)"), "its name holds a character that no name may hold"),
    (re.compile(rb"[^\r]*\r", re.DOTALL), "it holds a CR that ends no line"),
    (re.compile(rb".*[^\t\x20-\x7e\x80-\xff]", re.DOTALL), "its value holds a control character"),
)
"""What a field line begins with when something is wrong with it, the first that fits."""

LINES_LOOKED_AT = 256
"""To say what is wrong with one of them; each takes some microseconds."""


def what_is_wrong_with_fields(lines: bytes) -> str:
    """Return why `lines`, which `grammar.FIELD_LINES` does not match, are no field lines.

    Args:
        lines: Everything behind the request line.
    """
    for number, line in enumerate(lines.split(b"\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT], 1):
        if line in (b"", b"\r"):
            break
        if not line.endswith(b"\r"):
            return f"field line {number} does not end in CRLF"
        for symptom, words in _SYMPTOMS:
            if symptom.match(line[:-1]):
                return f"field line {number} is malformed: {words}"
    return "the header fields are malformed"
