"""Speak HTTP/1.1 as a server on one caller's connection.

The theory of it. A connection is in one of these states:

    reading a head    no relay, no body; `_held` has the bytes of an incomplete head
    relaying          a relay is in flight; its body may still be coming
    discarding        a refusal was sent; the short rest of its body is read and dropped
    leaving           the last answer was written; what still comes is dropped until the
                      caller closes or a deadline passes, so that the answer is not lost
                      in a reset (RFC 9112 9.6)

Requests are answered one after the other: bytes behind the current request wait, and
reading stops until its answer is written. Reading also stops while the upstream does
not take the body and while the caller does not take answers, so what a connection can
hold in memory is bounded by the transports' high-water marks. A connection has one
deadline; the gate's sweep compares it with the clock, also while reading is paused,
when a peer's close goes unseen.

Sources: RFC 9112 2.2, 3, 9; RFC 9110 10.1.1, 15.5.9 (408).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import inf
from time import perf_counter, time
from typing import TYPE_CHECKING, cast

from gateway.enforce.challenge import Refusal, refusal_for, refusal_for_head, refusal_for_length
from gateway.enforce.judge import CallerFacts
from gateway.enforce.location import NO_LOCATION
from gateway.enforce.verdict import Permit, Refused
from gateway.http1 import grammar
from gateway.http1.chunked import ChunkError
from gateway.http1.diagnosis import what_is_wrong_with_start
from gateway.http1.forwarding_rules import ForwardingRules
from gateway.http1.request import BadRequest, FieldBlock, RequestHead
from gateway.observe.exchange import Exchange
from gateway.policy.model import Decision
from gateway.policy.peers import forwarded_address, peer_group
from gateway.proxy.body import CountedBody, LimitedChunkedBody, RequestBody
from gateway.proxy.in_flight import AnyRequest, RequestInFlight
from gateway.proxy.refusals import refusal_bytes
from gateway.proxy.relay import Relay
from gateway.proxy.service_call import ServiceCall
from gateway.proxy.tunnel import reset_at_close
from gateway.reasons import Reason
from gateway.services import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.proxy.gate import Gate, ListenerInfo

WRITE_HIGH_WATER_BYTES = 320 * 1024
"""Above one read of the event loop (250 KiB): a caller that keeps up never pauses its upstream."""
WRITE_LOW_WATER_BYTES = 64 * 1024
DISCARD_LIMIT_BYTES = 64 * 1024
"""A refused request's announced body up to this size is read over to keep the connection."""
LEAVE_LIMIT_S = 2.0
"""A caller that sends nothing more for this long has what we said to it last."""
LEAVE_UPLOAD_S = 30.0
"""One that sends on what it had begun gets this long: it may read the answer only after that."""
LEAVE_LIMIT_BYTES = 4 * 1024 * 1024
LEAVE_UPLOAD_BYTES = 256 * 1024 * 1024
"""So much is read over of bytes that are no request, and of a body that nobody wants any more."""
ACTIVE, IDLE, UPGRADED = STATES = ("active", "idle", "upgraded")
"""Of a connection: the closed list of the metric label."""
DRAIN_GRACE_S = 1.0
"""When we drain, a connection that was accepted last gets this long to say what it came for."""

SHORT_HEAD_BYTES = 256
"""Up to this size an incomplete head is looked at whole each time something is added to it."""

# How much of a head is there: `_begun_head`.
_HEAD_NOT_BEGUN = 0
_HEAD_BEGUN = 1
_REQUEST_LINE_READ = 2


# Why reading is paused: bits of `_hold`. Plain integers, because operations on an IntFlag
# cost a microsecond each, several times per request.
_HOLD_NEXT_REQUEST = 1
"""Bytes of a next request arrived before this one was answered."""
_HOLD_NO_CONNECTION = 2
"""The body must wait for a connection to the upstream."""
_HOLD_UPSTREAM = 4
"""The upstream does not take the body."""
_HOLD_TURN = 16
"""It has had its share of this turn of the event loop."""
_HOLD_WRITING = 8
"""The caller does not take answers."""


HEADS_PER_TURN = 16
"""A read of the event loop can hold ten thousand requests that are refused at once: half a second."""


class DownstreamConnection(asyncio.Protocol):
    """One caller's connection."""

    __slots__ = (
        "_arrived",
        "_asks_peer",
        "_begun_head",
        "_believes",
        "_body",
        "_caller",
        "_droppable_bytes",
        "_drops_until",
        "_half_closed",
        "_held",
        "_hold",
        "_leaving",
        "_listener",
        "_reading",
        "_transport",
        "_written_backlog",
        "client_certificate",
        "deadline",
        "facts",
        "forwarded_x_lines",
        "gate",
        "listener_name",
        "own_lines",
        "peer",
        "relay",
        "requests",
    )

    def __init__(
        self,
        gate: Gate,
        listener: ListenerInfo,
        peer: str | None = None,
        *,
        believes: bool = True,
        arrived: Callable[[], None] | None = None,
    ) -> None:
        """See `Gate.accept`."""
        self.gate = gate
        self._arrived = arrived
        self._listener = listener
        self.listener_name = listener.name
        """For logs and metrics."""
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self.peer = peer or ""
        self._asks_peer = peer is None
        self.client_certificate: bytes | None = None
        """The certificate that the caller proved to hold and that our authorities signed, in DER."""
        self._believes = believes
        self.facts = CallerFacts(listener.serves)
        """What the judge knows of the caller."""
        self.forwarded_x_lines = b""
        """Our X-Forwarded-For line and X-Forwarded-Proto."""
        self.own_lines: dict[ForwardingRules, bytes] = {}
        """What is the same for every request of this connection, by the rules of its upstream."""
        self.relay: AnyRequest | None = None
        """The request in flight."""
        self._body: RequestBody | None = None
        self._held = b""
        self._hold = 0
        self._begun_head = _HEAD_NOT_BEGUN
        """Once begun, the deadline of the head runs: more bytes of it do not renew it."""
        self._reading = False
        """`_read_heads` is at work and will go on by itself."""
        self._leaving = False
        self._half_closed = False
        self._caller: Caller | None = None
        """Who is at the other end, once a service has asked."""
        self._written_backlog = 0
        self._droppable_bytes = 0
        """While it is leaving: how much more is read over."""
        self._drops_until = 0.0
        """While it is leaving: its last deadline."""
        self.deadline = inf
        """Monotonic seconds; `expire` is called when it has passed."""
        self.requests = 0

    @property
    def scheme(self) -> str:
        """Return the scheme the caller used."""
        return self._listener.scheme

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is going on: no request begun, none in flight."""
        return self.relay is None and self._body is None and not self._held

    @property
    def has_ended(self) -> bool:
        """Return whether the caller said that it sends no more."""
        return self._half_closed

    @property
    def state(self) -> str:
        """Return one of `STATES`."""
        if self.relay is not None and self.relay.tunnel is not None:
            return UPGRADED
        return IDLE if self.is_idle else ACTIVE

    def judge_peer(self) -> None:
        """Believe the peer's forwarding fields, or no longer: `trusted_proxies` changed."""
        is_trusted = self._believes and self.gate.is_trusted(self.peer)
        self.facts = replace(self.facts, is_trusted=is_trusted)
        self.own_lines.clear()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, unless there are too many connections already."""
        self._transport = cast(asyncio.Transport, transport)
        try:
            self._come_in(transport)
        except Exception:
            self.gate.log_internal_error()
            self.abort()

    def _come_in(self, transport: asyncio.BaseTransport) -> None:
        if self._arrived is not None:
            self._arrived()
            self._arrived = None
        if self._asks_peer:
            peername = transport.get_extra_info("peername")
            self.peer = peername[0] if isinstance(peername, tuple) else ""
        gate = self.gate
        is_trusted = self._believes and gate.is_trusted(self.peer)
        self.facts = CallerFacts(self._listener.serves, peer_group(self.peer), is_trusted)
        if self._listener.asks_certificate:
            tls = transport.get_extra_info("ssl_object")
            self.client_certificate = tls.getpeercert(binary_form=True)
        self.forwarded_x_lines = gate.forwarded_x_lines(self.peer, self.scheme)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES, low=WRITE_LOW_WATER_BYTES)
        self.deadline = _after(DRAIN_GRACE_S if gate.draining else gate.limits.keep_alive_timeout_s)
        admitted = gate.enter(self)
        if admitted is None:
            self.abort()
        elif admitted is not Reason.OK:
            self._refuse_unread(refusal_for(Decision(admitted)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop everything that was done for the caller."""
        self.gate.leave(self)
        self.deadline = inf
        self._body = None
        relay = self.relay
        self.relay = None
        if relay is not None:
            relay.caller_left()

    def eof_received(self) -> bool:
        """Take a half-close: what was asked completely is still answered."""
        self._half_closed = True
        if self.relay is not None and self.relay.tunnel is not None:
            self.relay.tunnel.caller_ended()
            return not self._transport.is_closing() and self._transport.can_write_eof()
        if self._leaving or self.is_idle or self.relay is None:
            return False
        if self._body is not None and not self._body.done:
            self.abort()
            return False
        return self._transport.can_write_eof()  # TLS as it is done here ends both ways at once

    def pause_writing(self) -> None:
        """The caller does not take the answer: stop the source of it."""
        self._pause(_HOLD_WRITING)
        self._written_backlog = self._transport.get_write_buffer_size()
        if self.relay is not None:
            self.relay.downstream_blocked(blocked=True)

    def resume_writing(self) -> None:
        """The caller takes the answer again."""
        if self.relay is not None:
            self.relay.downstream_blocked(blocked=False)
        self._resume(_HOLD_WRITING)
        self._next_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a body, of a head, or of a request that must wait."""
        try:
            if self._leaving:
                self._drop(data)
            elif self._body is not None:
                self._read_body(data)
            elif self.relay is not None and self.relay.tunnel is not None:
                self.relay.tunnel.from_caller(data)
            elif self.relay is not None or self._hold:
                self._held += data
                self._pause(_HOLD_NEXT_REQUEST)
            elif (
                not self._held
                and 4 < data.find(b"\r\n\r\n") + 4 == len(data) <= self.gate.longest_head_bytes
                and not data.startswith(b"\r\n")
            ):
                self._take_head(data, data, len(data))  # the usual read: exactly one head
            elif len(self._held) > SHORT_HEAD_BYTES and self._begun_head:
                self._extend_head(data)
            else:
                self._read_heads(self._held + data)
        except Exception:
            # The one rescue point of this connection: fail closed, tell nobody's bytes.
            self.gate.log_internal_error()
            self.abort(Reason.INTERNAL)

    # --- heads

    def _read_heads(self, data: bytes) -> None:
        """Read as many requests as may be read now; keep the rest."""
        self._held = b""
        self._reading = True
        position, size, left = 0, len(data), HEADS_PER_TURN
        try:
            while (
                position < size
                and self.relay is None
                and self._body is None
                and not self._hold
                and not self._leaving
            ):
                if not left:
                    self._yield_turn()
                    break
                left -= 1
                if data.startswith(b"\r", position):
                    data = self._skip_empty_line(data[position:])
                    position, size = 0, len(data)
                    continue
                end = data.find(b"\r\n\r\n", position) + 4
                limit = self.gate.limits.header_bytes
                if end < 4 or (limit and end - position > limit):
                    self._incomplete_head(data[position:], end - position if end >= 4 else end)
                    return
                head = data[position:end]
                position = self._take_head(head, data, end)
        finally:
            self._reading = False
        if position < size and not self._leaving:
            self._held = data[position:]
            self._pause(_HOLD_NEXT_REQUEST)

    def _skip_empty_line(self, data: bytes) -> bytes:
        """Read over one empty line before a request line (RFC 9112 2.2); more are refused.

        It is held until something follows, so that it makes no difference how bytes are cut into reads.
        """
        if data not in (b"\r", b"\r\n"):
            if data.startswith(b"\r\n") and not data.startswith(b"\r", 2):
                return data[2:]
            self._refuse_unread(
                refusal_for_head(
                    BadRequest(Reason.BAD_FRAMING, "there is more than one empty line before the request")
                )
            )
            return b""
        self._hold_head(data, _HEAD_BEGUN)
        return b""

    def _incomplete_head(self, data: bytes, end: int) -> None:
        """Keep the bytes of an incomplete head, unless they can no longer become a good one."""
        limit = self.gate.limits.header_bytes
        problem: BadRequest | None = None
        line_end = data.find(b"\n")
        if limit and (len(data) > limit if end < 4 else end > limit):
            problem = (
                BadRequest(Reason.URI_TOO_LONG, f"the request line is longer than {limit} bytes")
                if line_end < 0 or line_end > limit
                else BadRequest(Reason.HEADER_TOO_LARGE, f"the head is longer than {limit} bytes")
            )
        elif line_end >= 0:
            line = data[: line_end + 1]
            if not grammar.REQUEST_LINE.fullmatch(line):
                read = self.gate.reader.read(line)
                assert isinstance(read, BadRequest)
                problem = read
            elif data.count(b"\n") != data.count(b"\r\n"):
                problem = BadRequest(Reason.BAD_FRAMING, "a line does not end in CRLF")
        elif not grammar.METHOD_START.match(data):
            problem = BadRequest(Reason.BAD_FRAMING, what_is_wrong_with_start(data))
        if problem is not None:
            self._refuse_unread(refusal_for_head(problem))
            return
        self._hold_head(data, _HEAD_BEGUN if line_end < 0 else _REQUEST_LINE_READ)

    def _hold_head(self, data: bytes, begun: int) -> None:
        """Keep the bytes of an incomplete head; its deadline runs from the first of them."""
        if not self._begun_head:
            self.deadline = _after(self.gate.limits.header_timeout_s)
        self._begun_head = begun
        self._held = data

    def _extend_head(self, data: bytes) -> None:
        """Add to an incomplete head, looking only at what is new, as long as that settles nothing.

        Looking at all of it for each byte that drips in would cost 40 µs a byte at 32 KiB.
        """
        held = self._held
        limit = self.gate.limits.header_bytes
        ends = data.count(b"\n")
        if (
            b"\r\n\r\n" in held[-3:] + data
            or (limit and len(held) + len(data) > limit)
            or (ends and self._begun_head != _REQUEST_LINE_READ)
            or ends != data.count(b"\r\n") + (data.startswith(b"\n") and held.endswith(b"\r"))
        ):
            self._read_heads(held + data)
        else:
            self._held = held + data

    def _take_head(self, head_bytes: bytes, data: bytes, end: int) -> int:
        """Judge one complete head and act on it; return where its request ends in `data`.

        Args:
            head_bytes: The head.
            data: The read that it is part of.
            end: Where the head ends in it.
        """
        started = perf_counter()
        at = time()
        gate = self.gate
        self.requests += 1
        self._begun_head = _HEAD_NOT_BEGUN
        head = gate.reader.read(head_bytes)
        if isinstance(head, BadRequest):
            self._refuse_unread(refusal_for_head(head), at=at, started=started)
            return len(data)
        block = head.block
        keep_alive = not block.close and (head.minor_version == 1 or block.keep_alive) and not gate.stopping
        length = block.content_length
        has_body = block.chunked or bool(length)
        judged = gate.judge.judge(head, self.facts, at)
        limit_lines = b""
        if judged.location.is_limited and isinstance(judged, Permit):
            counted = gate.count_request(judged, gate.peer_of(self.facts, block), started)
            if isinstance(counted, Refused):
                judged = counted
            else:
                limit_lines = counted
        if isinstance(judged, Refused):
            refused = RequestInFlight(gate, self, head, judged, at, started, keep_alive, has_body)
            return self._refuse_request(refused, head, judged, data, end)
        route = judged.location.route
        relay: Relay | ServiceCall
        if route is not None:
            relay = to_upstream = Relay(gate, self, head, judged, at, started, keep_alive, has_body)
            to_upstream.plan = gate.snapshot.plans[route.upstream]
            if limit_lines:
                relay.limit_lines = limit_lines
        else:
            relay = ServiceCall(gate, self, head, judged, at, started, keep_alive, has_body)
        self.relay = relay
        if not has_body:
            relay.begin()
            return end
        self._body = LimitedChunkedBody(gate.limits.body_bytes) if block.chunked else CountedBody(length or 0)
        self.deadline = _after(gate.limits.body_idle_timeout_s)
        leftover = self._feed_body(data[end:]) if end < len(data) else b""
        if self.relay is relay:
            if self._body is not None:
                self._pause(_HOLD_NO_CONNECTION)
            relay.begin()
        return len(data) - len(leftover)

    # --- bodies

    def _read_body(self, data: bytes) -> None:
        leftover = self._feed_body(data)
        if leftover and not self._leaving:
            self._held = leftover
            if self.relay is not None:
                self._pause(_HOLD_NEXT_REQUEST)
            else:
                self._next_request()

    def _feed_body(self, data: bytes) -> bytes:
        """Hand body data to the relay, or drop it; return what is behind the body's end."""
        body = self._body
        relay = self.relay
        assert body is not None
        try:
            pieces = body.feed(data)
        except ChunkError as error:
            problem = BadRequest(Reason.BAD_FRAMING, str(error))
            self._give_up(Reason.BAD_FRAMING, problem.detail, refusal_for_head(problem))
            return b""
        if isinstance(body, LimitedChunkedBody) and body.too_large:
            location = NO_LOCATION if relay is None else relay.location
            refusal = refusal_for_length(self.gate.limits.body_bytes, location.label)
            self._give_up(Reason.BODY_TOO_LARGE, "the body exceeds the limit", refusal)
            return b""
        if body.done:
            self._body = None
        elif body.is_behind:
            self._yield_turn()
        if relay is not None:
            if not body.done:
                self.deadline = _after(self.gate.limits.body_idle_timeout_s)
            relay.take_body(pieces, last=body.done, trailers=body.trailers)
        elif body.done:
            self.deadline = _after(self.gate.limits.keep_alive_timeout_s)
        return body.rest

    def _give_up(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """End the request in flight because of what its caller sent, or did not send."""
        relay = self.relay
        if relay is None:
            self.abort()
            return
        relay.keep_alive = False
        relay.give_up(reason, detail, refusal)

    def _drop(self, data: bytes) -> None:
        """Read over what comes after the last answer, within bounds."""
        self._droppable_bytes -= len(data)
        if self._droppable_bytes < 0:
            self.abort()
        elif not self._written_backlog:
            self.deadline = min(perf_counter() + LEAVE_LIMIT_S, self._drops_until)

    # --- called by the relay

    def connection_ready(self) -> None:
        """The upstream takes the body now."""
        self.deadline = _after(self.gate.limits.body_idle_timeout_s)
        self._resume(_HOLD_NO_CONNECTION)

    def answering(self, idle_timeout_s: float) -> None:
        """Something of the answer came: the next piece is due in `idle_timeout_s` (0 = no limit)."""
        if not self._hold & _HOLD_WRITING:
            self.deadline = _after(idle_timeout_s)

    def upstream_blocked(self, *, blocked: bool) -> None:
        """Read no more of the body while the upstream does not take it."""
        if blocked:
            self._pause(_HOLD_UPSTREAM)
        else:
            self._resume(_HOLD_UPSTREAM)

    def write(self, data: bytes) -> None:
        """Send bytes of an answer."""
        self._transport.write(data)

    def send_refusal(self, refusal: Refusal, relay: AnyRequest) -> int:
        """Send a refusal for the request of `relay`; return how many bytes its body has."""
        if self._body is not None and not self._may_discard(self._body, relay):
            relay.keep_alive = False
        answer, body_bytes = refusal_bytes(
            refusal,
            request_id=relay.request_id,
            date_line=self.gate.date_line,
            closes=not relay.keep_alive,
            with_body=relay.method != "HEAD",
            version_0=relay.is_version_0,
        )
        self._transport.write(answer)
        return body_bytes

    def _may_discard(self, body: RequestBody, relay: AnyRequest) -> bool:
        """Return whether the rest of a refused request is short enough to be read over."""
        return (
            isinstance(body, CountedBody)
            and body.remaining <= DISCARD_LIMIT_BYTES
            and not relay.has_expectation  # the caller may or may not send it now
        )

    def answered(self, relay: AnyRequest, monotonic_now: float) -> None:
        """The answer of `relay` was written whole: go on to the next request, or leave."""
        if self.relay is not relay and self.relay is not None:
            return
        self.relay = None
        if not relay.keep_alive or self._half_closed:
            self._leave(unread=relay.ends_unasked)
            return
        hold = self._hold
        if not hold & _HOLD_WRITING:
            limits = self.gate.limits
            timeout_s = limits.keep_alive_timeout_s if self._body is None else limits.body_idle_timeout_s
            self.deadline = monotonic_now + timeout_s if timeout_s else inf
        if hold:
            self._resume(_HOLD_NO_CONNECTION | _HOLD_UPSTREAM)
            self._next_request()

    def cut(self, *, ends_the_body: bool) -> None:
        """Cut the connection inside an answer.

        Args:
            ends_the_body: The caller takes the connection's end for the body's: only a reset tells
                it that there is more (RFC 9112 8).
        """
        if ends_the_body:
            reset_at_close(self._transport)
        self.abort()

    def abort(self, reason: Reason = Reason.CLIENT_CLOSED) -> None:
        """Cut the connection: what was sent so far must not look complete.

        Args:
            reason: What is recorded of a request in flight, when it is not its caller who ends it.
        """
        relay = self.relay
        self.relay = None
        self._leaving = True
        if relay is not None:
            relay.caller_left(reason)
        self._transport.abort()

    def tunnel_opened(self) -> bytes:
        """Hand over to a tunnel; return the bytes that came before it was open."""
        held = self._held
        self._held = b""
        self._resume(_HOLD_NEXT_REQUEST)
        return held

    def end_writing(self) -> bool:
        """Tell the caller that nothing more will come; return False where that closes both ways."""
        if not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def close_after_write(self, *, in_order: bool) -> None:
        """End a tunnel: what is buffered is still sent; a slow reader has the time it needs.

        Args:
            in_order: The upstream had said all it had to say, or the caller ended both ways itself.
                Otherwise a reset ends the connection; over TLS at once, because a close that sends
                what is there also says that it is all.
        """
        self.relay = None
        if self._transport.is_closing():
            return
        if in_order:
            self._leave(unread=True)  # it may be sending, and an unread byte would make a reset of our close
        elif self._transport.can_write_eof():
            reset_at_close(self._transport)
            self._leave()
        else:
            self.cut(ends_the_body=True)

    def caller(self, block: FieldBlock) -> Caller:
        """Return who sends a request with these fields: the peer, or whom it names if it is believed."""
        caller = self._caller
        if caller is None:
            caller = self._caller = Caller(self.peer, self.scheme, self.client_certificate)
        if not self.facts.is_trusted or b"x-forwarded-for" in block.connection_options:
            return caller
        values = [value for lower, _, value in block.fields if lower == b"x-forwarded-for"]
        address = forwarded_address(values, self.gate.is_trusted) if values else None
        return caller if address is None else replace(caller, address=address)

    # --- called by the gate

    def expire(self, monotonic_now: float) -> None:
        """Act on the deadline that has passed."""
        relay = self.relay
        limits = self.gate.limits
        if self._hold & _HOLD_WRITING or self._leaving:
            backlog = self._transport.get_write_buffer_size()
            if 0 < backlog < self._written_backlog:
                self._written_backlog = backlog  # slow, but it takes something
                self.deadline = monotonic_now + limits.body_idle_timeout_s
            elif self._leaving and not backlog and not self._transport.is_closing():
                self.deadline = monotonic_now + LEAVE_LIMIT_S
                self._transport.close()  # over TLS with a word for the end
            else:
                self.cut(ends_the_body=backlog > 0)
        elif relay is None:
            if self._held or self._begun_head:
                self._refuse_unread(refusal_for(Decision(Reason.REQUEST_TIMEOUT)))
            elif self._body is not None:
                self.abort()
            else:
                self._leave()  # not merely close: the last answer may still wait to be read
        elif relay.tunnel is not None:
            relay.tunnel.end(Reason.UPSTREAM_TIMEOUT.value, "the tunnel was silent for too long")
        elif relay.response_started or self._body is None or self._hold & _HOLD_UPSTREAM:
            relay.give_up(Reason.UPSTREAM_TIMEOUT, "the upstream was silent for too long")
        else:
            self._give_up(Reason.REQUEST_TIMEOUT, "the body stopped coming")

    def struck(self) -> None:
        """End what goes on: a mistake of ours struck this connection at its deadline. Never raises."""
        self.deadline = inf
        if self.relay is not None:
            self.relay.struck()
        else:
            self.abort()

    def drain(self) -> None:
        """Close when idle; else let the request in flight be the last."""
        if self.is_idle and self.requests:
            self._leave()
        elif self.is_idle:
            # Opened just now: its first request is on its way, and nobody told the caller to go elsewhere.
            self.deadline = min(self.deadline, _after(DRAIN_GRACE_S))
        elif self.relay is not None:
            self.relay.keep_alive = False  # an answer that said otherwise already is the last all the same

    # --- refusing and leaving

    def _refuse_request(
        self, relay: AnyRequest, head: RequestHead, refused: Refused, data: bytes, end: int
    ) -> int:
        """Refuse one complete head; return where its request ends in `data`."""
        self.relay = relay
        if refused.verdict is not None:
            self.gate.count_refused(refused.verdict.decision)
        if relay.location is NO_LOCATION:
            # Refused for its fields or the form of its target: another reader may take what comes
            # next for something else.
            relay.keep_alive = False
            relay.ends_unasked = True
        if relay.has_body:
            length = head.block.content_length
            self._body = (
                LimitedChunkedBody(self.gate.limits.body_bytes) if length is None else CountedBody(length)
            )
        relay.refuse(refused.refusal.reason, "", refused.refusal)
        if self._leaving:
            return len(data)
        if self._body is None or end == len(data):
            return end
        return len(data) - len(self._feed_body(data[end:]))

    def _refuse_unread(self, refusal: Refusal, *, at: float = 0.0, started: float = 0.0) -> None:
        """Refuse bytes that are no request, and leave."""
        gate = self.gate
        request_id = gate.new_request_id()
        answer, body_bytes = refusal_bytes(
            refusal,
            request_id=request_id,
            date_line=gate.date_line,
            closes=True,
            with_body=True,
            version_0=False,
        )
        self._transport.write(answer)
        gate.record(
            Exchange(
                at=at or time(),
                reason=refusal.reason.value,
                status=refusal.status,
                request_id=request_id.decode("ascii"),
                peer=self.peer,
                listener=self.listener_name,
                response_bytes=body_bytes,
                duration_s=perf_counter() - started if started else 0.0,
            )
        )
        self._leave(unread=True)

    def _leave(self, *, unread: bool = False) -> None:
        """Close after what was written; read over what still comes, for a while (RFC 9112 9.6)."""
        self._leaving = True
        now = perf_counter()
        is_upload = self._body is not None
        self._droppable_bytes = LEAVE_UPLOAD_BYTES if is_upload else LEAVE_LIMIT_BYTES
        self._drops_until = now + (LEAVE_UPLOAD_S if is_upload else LEAVE_LIMIT_S)
        self._written_backlog = self._transport.get_write_buffer_size()
        if self._written_backlog:  # a slow reader has the time it needs, here as everywhere
            self.deadline = _after(self.gate.limits.body_idle_timeout_s)
        else:
            self.deadline = now + LEAVE_LIMIT_S
        unread = unread or is_upload or bool(self._held)
        self._held = b""
        ends_one_way = self._transport.can_write_eof()
        if self._half_closed or not (unread and (ends_one_way or is_upload)):
            self._transport.close()
            return
        self._body = None
        if ends_one_way:
            self._transport.write_eof()
        self._hold = 0
        self._transport.resume_reading()  # whatever the reason was why it is paused

    def _yield_turn(self) -> None:
        """Do no more for this caller until the event loop has looked after the others."""
        if not self._hold & _HOLD_TURN:
            self._pause(_HOLD_TURN)
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if self._transport.is_closing():
            return
        self._resume(_HOLD_TURN)
        if self._body is None or not self._body.is_behind:
            self._next_request()
            return
        try:
            self._read_body(b"")
        except Exception:
            self.gate.log_internal_error()
            self.abort(Reason.INTERNAL)

    def _next_request(self) -> None:
        """Go on with the bytes that waited, unless something else still must be waited for."""
        if (
            self.relay is not None
            or self._reading
            or self._leaving
            or self._hold & (_HOLD_WRITING | _HOLD_TURN)
        ):
            return
        held = self._held
        self._held = b""
        self._hold &= ~_HOLD_NEXT_REQUEST
        try:
            if held and self._body is not None:
                self._read_body(held)
            elif held:
                self._read_heads(held)
        except Exception:
            self.gate.log_internal_error()
            self.abort(Reason.INTERNAL)
            return
        if not self._hold and not self._leaving:
            self._transport.resume_reading()

    # --- flow control

    def _pause(self, why: int) -> None:
        if not self._hold:
            self._transport.pause_reading()
        self._hold |= why
        if why == _HOLD_WRITING:
            self.deadline = _after(self.gate.limits.body_idle_timeout_s)
        elif why == _HOLD_NO_CONNECTION:
            self.deadline = inf
        elif why == _HOLD_UPSTREAM and self.relay is not None:
            self.deadline = _after(self.relay.idle_timeout_s)

    def _resume(self, why: int) -> None:
        if self._hold & why:
            self._hold &= ~why
            if not self._hold:
                self._transport.resume_reading()
            if self._body is not None and self.relay is not None:
                self.deadline = _after(self.gate.limits.body_idle_timeout_s)
            elif self.relay is not None and self.relay.response_started:
                self.deadline = _after(self.relay.idle_timeout_s)


def _after(seconds: float) -> float:
    """Return the monotonic time in `seconds`, where 0 is never."""
    return perf_counter() + seconds if seconds else inf
