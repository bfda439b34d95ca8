"""Say what a service of this process is given, and what it gives back.

A service answers requests itself, where others are relayed to an upstream. It sees one whole request
as a frozen value and returns one answer. Bytes, connections, their order and their limits are the
gate's (`gateway.proxy.service_call`). Data only.

Sources: RFC 9110 9.3 (methods), 15 (status codes).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end, as the gate saw it."""

    address: str
    scheme: str
    """http or https: how the caller reached us, a trusted hop in front included."""
    certificate: bytes | None = field(default=None, repr=False)
    """The client certificate, verified on the caller's own connection to us, in DER."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a service sees it."""

    method: str
    path: str
    """Canonical."""
    query: str = field(repr=False)
    """As sent, without the question mark."""
    fields: CIMultiDictProxy[str] = field(repr=False)
    """Those that reach beyond one hop, and of those that only a hop may set, the ones of trusted hops."""
    caller: Caller
    request_id: str
    content_length: int | None = None
    """Of the body that was announced; None for one in chunks, and for none."""
    body: bytes = field(default=b"", repr=False)
    """The whole body: nothing before it is there, and what is longer than the service takes is cut off."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Its length, its date and what concerns the connection are added by the gate."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    reason: str = ""
    """The word that is recorded where the answer is a refusal."""


Respond = Callable[[Request], Awaitable[Answer]]
"""Answers a request whose body is there. Runs to its end, whatever becomes of the caller."""


class Service(Protocol):
    """One service."""

    @property
    def name(self) -> str:
        """Return its name in logs and metrics."""

    @property
    def longest_body(self) -> int:
        """Return how many octets of a body it looks at: one more is enough to refuse a longer one."""

    def place(self, request: Request) -> Answer | Respond:
        """Return the answer that the head alone settles, or what answers once the body is there.

        Called with each request as soon as its head is there; does not wait, and never raises.
        """
