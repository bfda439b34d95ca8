"""State the byte patterns of HTTP/1.1 that decide what is accepted.

Only patterns and closed sets; `gateway.http1.request` and `gateway.http1.response`
apply them. Every pattern is anchored, linear and narrower than or equal to the RFC.

Sources: RFC 9110 5.5 (field values), 5.6.2 (token), 9.1 (methods); RFC 9112 3
(request line), 4 (status line), 5 (field syntax), 7.1 (chunked).
"""

import re

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""RFC 9110 5.6.2: of which methods, names of fields and of protocols are made."""

REQUEST_LINE = re.compile(
    # RFC 9112 3: exactly one space between the three parts; the target in visible ASCII
    # without `"`, `#`, `<`, `>` and `\`, which upstreams read in different ways.
    rb"(" + TCHAR + rb"{1,32}) ([!$-;=?-\[\]-~]+) HTTP/1\.([01])\r\n"
)
METHOD_START = re.compile(TCHAR + rb"{1,32}(?: [!-~]*|$)")
"""What a request line that is still incomplete must begin with."""
OTHER_VERSION = re.compile(TCHAR + rb"{1,32} [!-~]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n")
"""A request line that is well-formed but for its version: 505 (RFC 9110 15.6.6)."""

FIELD_LINES = re.compile(
    # RFC 9112 5: no space before the colon, no folding, no control bytes, CRLF only.
    rb"(?:" + TCHAR + rb"+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")

CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")
"""RFC 9110 8.6; 18 digits fit 64 bits, so no reader can overflow where we do not."""
CHUNK_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
"""RFC 9112 7.1.1: white space after the size belongs to an extension; alone it is none."""
MAX_FORWARDS = re.compile(rb"[0-9]{1,9}")
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TRACEPARENT = re.compile(
    # W3C Trace Context: nothing may follow in version 00, anything in later ones; ff is none.
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
B64TOKEN = rb"[A-Za-z0-9\-._~+/]+=*"
"""RFC 6750 2.1: what a bearer token may be."""
BEARER = re.compile(rb"(?i:bearer)(?: +(" + B64TOKEN + rb"))?")
"""An Authorization value of that scheme; the token is missing from some."""
PERSONAL_LINES = re.compile(
    # Well-formed lines of three fields that differ from request to request where all others are
    # the same. Found behind a CRLF and followed by one, so each is a whole line.
    rb"\r\n(?:"
    rb"(?i:authorization):[ \t]*((?i:bearer) +" + B64TOKEN + rb")"
    rb"|(?i:traceparent):[ \t]*(00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
    rb"|(?i:x-request-id):[ \t]*([A-Za-z0-9._-]{1,64})"
    rb")[ \t]*(?=\r\n)"
)
ABSOLUTE_TARGET = re.compile(rb"(?i:https?)://([^/?#@]*)(/[^?]*)?(\?.*)?")

METHODS = frozenset(
    b"ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE "
    b"NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE "
    b"UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""The methods that are forwarded; CONNECT and TRACE are not (RFC 9110 9.3.6, 9.3.8)."""

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 9.2.2, of those a proxy meets: may be sent again when no answer began."""

STATUS_PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}
