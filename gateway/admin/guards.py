"""Decide whether the admin listener may serve a request at all.

Pure. The attacker in mind is a web page in the browser of somebody who can reach
the listener: DNS rebinding makes the browser send a foreign name in `Host`, and
a form or script can post across origins. Tokens are compared in
`gateway.admin.web`, which reads their file.

Sources: RFC 9110 7.2 (Host) and 15.5.20 (421), RFC 9112 3.2 (none in HTTP/1.0), RFC 6454 7
(Origin), Fetch Metadata (Sec-Fetch-Site), RFC 6761 6.3 (localhost), RFC 6750 2.1 (Bearer).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.hosts import address_of, is_loopback, split_authority
from gateway.http1.grammar import BEARER
from gateway.http1.media_type import is_utf8_media_type
from gateway.settings.model import AdminSettings

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Served without a token: probes and scrapers have none."""

PROBED_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered to HTTP/1.0 without a Host, too, as balancers ask (RFC 9112 3.2); browsers always send one."""

_READING = frozenset({"GET", "HEAD"})
_SAME_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not served. `challenge` asks for `WWW-Authenticate`."""

    status: int
    detail: str
    challenge: bool = False


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """The parts of a request that are judged; a field that was sent twice has two values."""

    method: str
    path: str
    scheme: str
    host: Sequence[str]
    origin: Sequence[str]
    fetch_site: Sequence[str]
    content_type: Sequence[str]
    authorization: Sequence[str]
    minor_version: int = 1
    """0 for HTTP/1.0, 1 for HTTP/1.1."""


def find_refusal(request: AdminRequest, settings: AdminSettings) -> Refused | None:
    """Return why the request must not be served, or None. The token's value is not looked at.

    Order: Host, then cross-origin writes, then the content type of writes.
    """
    if not request.host and not request.minor_version and _is_probe(request):
        return None
    authority = _split(request.host[0]) if len(request.host) == 1 else None
    if authority is None:
        return Refused(400, "one Host field with a host and an optional port is required")
    if not _answers_to(*authority, settings.hosts):
        return Refused(421, "Host is neither a loopback name or address nor listed in admin.hosts")
    if request.method in _READING:
        return None
    own_origin = f"{request.scheme}://{request.host[0]}".lower()
    if any(origin.lower() != own_origin for origin in request.origin) or len(request.origin) > 1:
        return Refused(403, "writes from another origin are refused")
    if any(site not in _SAME_SITE for site in request.fetch_site) or len(request.fetch_site) > 1:
        return Refused(403, "writes from another site are refused (Sec-Fetch-Site)")
    if request.method == "POST" and not is_utf8_media_type(request.content_type, "application/json"):
        # A cross-origin form cannot send this type, and a script needs a preflight, which we refuse.
        return Refused(415, "writes need Content-Type: application/json")
    return None


def _is_probe(request: AdminRequest) -> bool:
    return request.method in _READING and request.path in PROBED_PATHS


def needs_token(path: str, settings: AdminSettings) -> bool:
    """Return whether the admin token is demanded for `path`."""
    return settings.token_file is not None and path not in OPEN_PATHS


def read_bearer(authorization: Sequence[str]) -> str | None:
    """Return the token of the only Authorization field, or None when there is none or it has another form."""
    if len(authorization) != 1:
        return None
    match = BEARER.fullmatch(authorization[0].encode("utf-8", "replace"))
    return match[1].decode("ascii") if match and match[1] else None


def _split(text: str) -> tuple[str, int | None] | None:
    """Return host and port of a Host value or an entry of `admin.hosts`, or None when it is neither."""
    authority = split_authority(text.encode("utf-8", "replace"))
    return None if authority is None else (authority[0].decode("ascii"), authority[1])


def _answers_to(host: str, port: int | None, hosts: Sequence[str]) -> bool:
    """Return whether `host` is loopback or listed; an entry with a port is for that port only.

    Names are compared without regard to case, addresses as addresses.
    """
    if is_loopback(host):
        return True
    name = _compared(host)
    listed = (_split(entry) for entry in hosts)
    return any(
        entry is not None and _compared(entry[0]) == name and entry[1] in (None, port) for entry in listed
    )


def _compared(host: str) -> str | IPv4Address | IPv6Address:
    return address_of(host) or host.lower()
