"""Answer one request in this process: by a service, where a relay asks an upstream.

The theory of it. The head is placed first: what it settles alone (another method, another type) is
answered at once, before the body and instead of it. Otherwise the body is collected, no more of it
than the service looks at, and the service answers the whole request in its turn
(`gateway.proxy.service_runner`). A caller who leaves meanwhile ends nothing that has begun.

What stays as it is with upstreams: the order of answers, deadlines, the end of a connection whose
request was answered before it was read, the record.

Sources: RFC 9110 10.1.1 (Expect), 15.2.1 (100); RFC 9112 9.3, 9.6.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.enforce.verdict import Permit
from gateway.http1.dropped_fields import LONGEST_REMEMBERED_NAME_BYTES, REMEMBERED_NAMES
from gateway.http1.forwarding_rules import ForwardingRules, may_forward
from gateway.proxy.in_flight import RequestInFlight
from gateway.reasons import Reason
from gateway.services import Answer, Request, Respond

if TYPE_CHECKING:
    from gateway.enforce.challenge import Refusal

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWER_TIMEOUT_S = 30.0
"""From the request's last byte until the answer."""
WAIT_TIMEOUT_S = 5.0
"""Until its turn comes, while as many services run as may."""

_RULES, _TRUSTED_RULES = (
    ForwardingRules(
        keep_headers=frozenset(), forward_token=True, host=None, forwarded_x=False, trusted_peer=trusted
    )
    for trusted in (False, True)
)
_BODILESS = frozenset({204, 304})


class ServiceCall(RequestInFlight[Permit]):
    """One request that this process answers itself."""

    peer = ""
    """Whose it is, as limits count callers."""
    _body: bytes | bytearray = b""
    """What came of the body, up to one octet more than the service looks at."""
    _request: Request
    _respond: Respond | None = None
    """What answers, once the head is placed."""
    _is_settled = False
    """No more of a body counts: the service runs or waits for its turn, or the request has ended."""
    _waits = False
    _held = 0
    """Of the body, what the runner counts as held."""

    # --- the request

    def begin(self) -> None:
        """Place the head; answer, or see to the body."""
        gate, head = self.gate, self._head
        self._upstream = self._target = gate.service.name
        self.attempts = 1
        self._sent_at = perf_counter()
        if head.request_id is not None and head.traceparent is None:
            self._own_trace_id()
        block = head.block
        if block.expect_continue and b"expect" not in block.connection_options:
            self._downstream.write(CONTINUE)
        is_all = self.body_sent or self._is_too_long
        self._request = self._read_request(bytes(self._body) if is_all else b"")
        placed = gate.service.place(self._request)
        if isinstance(placed, Answer):
            self._answer(placed)
            return
        self._respond = placed
        if is_all:
            self._run()
        elif self._hold(len(self._body)):
            self._downstream.connection_ready()

    def take_body(self, pieces: list[bytes], *, last: bool, trailers: bytes = b"") -> None:
        """Collect the body, and have the request answered when all is there that counts."""
        size = sum(map(len, pieces))
        self.request_bytes += size
        if last:
            self.body_sent = True
        if self._is_settled:
            return
        if len(pieces) == 1 and not self._body and size <= self.gate.service.longest_body:
            self._body = pieces[0]
        else:
            self._collect(pieces)
        if self._respond is None:
            return
        if last or self._is_too_long:
            self._let_go()
            self._request = replace(self._request, body=bytes(self._body))
            self._run()
        else:
            self._hold(size)

    def _collect(self, pieces: list[bytes]) -> None:
        body = self._body if isinstance(self._body, bytearray) else bytearray(self._body)
        most = self.gate.service.longest_body + 1
        for piece in pieces:
            body += piece[: most - len(body)]
        self._body = body

    @property
    def _is_too_long(self) -> bool:
        return len(self._body) > self.gate.service.longest_body

    def _read_request(self, body: bytes) -> Request:
        """Return the request with this body."""
        head, location, downstream = self._head, self.location, self._downstream
        block, options = head.block, head.block.connection_options
        is_trusted = downstream.facts.is_trusted
        pairs = [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for lower, name, value in block.fields
            if _reaches_services(lower, is_trusted) and lower not in options
        ]
        if head.has_own_authorization and head.authorization is not None and b"authorization" not in options:
            pairs.append(("Authorization", head.authorization.decode("ascii")))
        return Request(
            head.method,
            location.logged_path,
            self.judged.query[1:].decode("ascii"),
            CIMultiDictProxy(CIMultiDict(pairs)),
            downstream.caller(block),
            self.request_id.decode("ascii"),
            block.content_length,
            body,
        )

    def _hold(self, size: int) -> bool:
        """Count `size` more octets as held; refuse where others need the room."""
        if not self.peer:
            downstream, block = self._downstream, self._head.block
            self.peer = self.gate.peer_of(downstream.facts, block)
        if self.gate.service_runner.hold(self.peer, size):
            self._held += size
            return True
        self.keep_alive = self.keep_alive and self.body_sent
        self.refuse(Reason.OVERLOADED, "too much is held of bodies that are not complete")
        return False

    def _let_go(self) -> None:
        if self._held:
            self.gate.service_runner.let_go(self.peer, self._held)
            self._held = 0

    # --- its turn

    def _run(self) -> None:
        self._is_settled = True
        self._body = b""
        self._downstream.deadline = perf_counter() + ANSWER_TIMEOUT_S
        self.gate.service_runner.run(self)

    def wait_for_turn(self) -> bool:
        """Wait, if what must be held for that may be held; else refuse, and return False."""
        if not self._hold(len(self._request.body)):
            return False
        self._waits = True
        self._downstream.deadline = perf_counter() + WAIT_TIMEOUT_S
        return True

    def has_no_turn(self, reason: Reason, detail: str) -> None:
        """Refuse: the service is not run for it."""
        self.refuse(reason, detail)

    async def respond(self) -> None:
        """Have the service answer, and send the answer if its caller is still there. Never raises."""
        if self._waits:
            self._waits = False
            self._let_go()
            self._downstream.deadline = perf_counter() + ANSWER_TIMEOUT_S
        assert self._respond is not None
        is_awaited = True
        try:
            answer = await self._respond(self._request)
            is_awaited = self._downstream.relay is self  # else its caller has left, or was told otherwise
            if is_awaited:
                self._answer(answer)
        except Exception:
            self.gate.log_internal_error()
            if is_awaited:
                self.struck()

    # --- the answer

    def _answer(self, answer: Answer) -> None:
        """Send an answer, and end."""
        now = perf_counter()
        gate, downstream = self.gate, self._downstream
        self._ttfb_s = self._upstream_s = now - self._sent_at
        self._reason = answer.reason
        self.status = answer.status
        self.response_started = True
        if not self.body_sent or gate.stopping:
            self.keep_alive = False  # the rest of the request will not be read as one
        status, body = answer.status, answer.body
        length = b"" if status in _BODILESS else b"Content-Length: %d\r\n" % len(body)
        if self.method == "HEAD" or status in _BODILESS:
            body = b""
        self.response_bytes = len(body)
        if not self.keep_alive:
            ending = b"\r\nConnection: close\r\n\r\n"
        elif self._head.minor_version == 1:
            ending = b"\r\n\r\n"
        else:
            ending = b"\r\nConnection: keep-alive\r\n\r\n"
        start = answer_start(status, answer.fields)
        downstream.write(
            b"".join((start, gate.date_line, length, gate.via_and_request_id, self.request_id, ending, body))
        )
        self._record(now)
        downstream.answered(self, now)

    # --- other ends

    def refuse(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """Answer with a refusal and end."""
        self._stop()
        super().refuse(reason, detail, refusal)

    def give_up(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """End it: a deadline passed, or the caller's bytes are no request."""
        if reason is Reason.UPSTREAM_TIMEOUT and self._waits:
            reason, detail = Reason.OVERLOADED, "waited too long for its turn"
        self._end_clock()
        super().give_up(reason, detail, refusal)

    def caller_left(self, reason: Reason = Reason.CLIENT_CLOSED) -> None:
        """Stop waiting, for body or turn; what runs goes on."""
        self._stop()
        self._end_clock()
        super().caller_left(reason)

    def _end_clock(self) -> None:
        if self._sent_at:
            self._upstream_s = perf_counter() - self._sent_at

    def _stop(self) -> None:
        self._is_settled = True
        self._body = b""
        self._let_go()
        if self._waits:
            self._waits = False
            self.gate.service_runner.forget(self)


def _reaches_services(lower_name: bytes, is_trusted: bool) -> bool:
    """Return whether a caller's field is told to services: what would be forwarded to an upstream."""
    if len(lower_name) > LONGEST_REMEMBERED_NAME_BYTES:
        return may_forward(lower_name, _TRUSTED_RULES if is_trusted else _RULES)
    return _remembered_reach(lower_name, is_trusted)


@lru_cache(maxsize=REMEMBERED_NAMES)
def _remembered_reach(lower_name: bytes, is_trusted: bool) -> bool:
    return may_forward(lower_name, _TRUSTED_RULES if is_trusted else _RULES)


@lru_cache(maxsize=256)
def answer_start(status: int, fields: tuple[tuple[str, str], ...]) -> bytes:
    """Return status line and fields, each with its CRLF. Remembered: most answers begin like others."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in fields]
    return "".join(lines).encode("latin-1")
