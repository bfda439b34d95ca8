"""Carry one permitted request to an upstream and its answer back.

A relay exists from the verdict until the last byte of the answer. What it has in common with every
request is `gateway.proxy.in_flight`. Here is what the two connections need to know of each other:
back-pressure in both directions, how much of the request has been sent. Only here is decided

* whether a request may be sent again (never one that the upstream may have begun to
  work on, unless it is idempotent and nothing of an answer arrived);
* what the caller sees when the upstream fails: a refusal while nothing was answered,
  and a cut connection afterwards, so that a truncated answer never looks complete.

Sources: RFC 9110 7.6.1, 7.6.3, 9.2.2, 10.1.1, 15.2; RFC 9112 6 and 9.3.1.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, inf
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.enforce.challenge import Refusal, refusal_for
from gateway.enforce.judge import wanted_protocol
from gateway.enforce.verdict import Permit
from gateway.http1.chunked import LAST_CHUNK, chunk, last_chunk
from gateway.http1.forwarding import (
    RULES_PER_BLOCK,
    forwardable_fields,
    forwardable_trailers,
    forwarded_element,
    join_forwarded_for,
    own_authorization,
    tell_prefix,
)
from gateway.http1.forwarding_rules import ForwardingRules
from gateway.http1.grammar import IDEMPOTENT_METHODS
from gateway.http1.response import ResponseHead
from gateway.policy.model import Decision
from gateway.proxy.in_flight import RequestInFlight
from gateway.proxy.targets import AttemptFailure
from gateway.proxy.tunnel import Tunnel
from gateway.reasons import Reason

if TYPE_CHECKING:
    from gateway.proxy.gate import UpstreamPlan
    from gateway.proxy.upstream import UpstreamConnection

LONGEST_REMEMBERED_OPENING_BYTES = 4096
"""About as much as is made of a head that is remembered, and as it is weighed for: claims may make more."""
WEBSOCKET = b"websocket"
REPLAY_LIMIT_BYTES = 64 * 1024
"""Bodies up to this size are kept to be sent again (CONTRACT: Retries)."""


class Relay(RequestInFlight[Permit]):
    """One permitted request in flight, and the upstream that is asked."""

    plan: UpstreamPlan
    """Where it leads; set before anything else is asked of it."""
    tried: frozenset[str] = frozenset()
    wait_deadline = 0.0
    avoided = ""
    retries = 0
    """How often it was sent again, other than for the end of a kept connection."""
    wants_fresh = False
    is_once_only = False
    _pending: tuple[bytes, ...] = ()
    """What must be sent behind the head as soon as there is a connection."""
    _replay: list[bytes] | None = None
    """The body as sent so far, when it could be sent again; None when it could not."""
    _connection: UpstreamConnection | None = None
    _waits_since = 0.0
    """Monotonic seconds since which there is none; 0 when nothing is waited for."""
    _response_chunked = False
    _response_options: frozenset[bytes] = frozenset()
    """What Connection lists in the answer's head, where that matters: in an answer with trailers."""
    _protocol = b""
    """The protocol the upstream may switch to: one that caller and route both name."""
    is_downstream_blocked = False
    """The caller does not take the answer."""

    # --- the request: from downstream to upstream

    def take_body(self, pieces: list[bytes], *, last: bool, trailers: bytes = b"") -> None:
        """Take body data of the request, in the order it arrived, and whether it was the last."""
        if not pieces and not last:
            return
        for piece in pieces:
            self.request_bytes += len(piece)
        if self._head.block.chunked:
            pieces = [chunk(piece) for piece in pieces]
            if last:
                pieces.append(last_chunk(self._passing_trailers(trailers) if trailers else b""))
        connection = self._connection
        if self._replay is not None:
            self._replay.extend(pieces)
        if connection is None:
            self._pending = (*self._pending, *pieces)
        elif pieces:
            connection.send_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if last:
            self.body_sent = True
            if connection is not None:
                self._await_answer(perf_counter())
            else:
                self._downstream.deadline = inf  # nothing is due from the caller; the pool bounds the rest

    def _passing_trailers(self, trailers: bytes) -> bytes:
        plan = self.plan
        rules = plan.trusted_rules if self._downstream.facts.is_trusted else plan.rules
        return forwardable_trailers(trailers, self._head.block.connection_options, rules)

    def begin(self) -> None:
        """Find out whether it can be sent again, and ask for a connection to the upstream."""
        self._upstream = self.plan.name
        if self.method in IDEMPOTENT_METHODS and (
            not self.has_body or (self._head.block.content_length or inf) <= REPLAY_LIMIT_BYTES
        ):
            self._replay = list(self._pending)
        else:
            self.is_once_only = True
        self._ask()

    def _ask(self) -> None:
        self.plan.pool.acquire(self)
        if self._connection is None and self._downstream.relay is self:
            self._waits_since = perf_counter()

    def start(self, connection: UpstreamConnection) -> None:
        """Send the request on `connection`, with what is there of its body."""
        if self._downstream.relay is not self:
            # The caller left while the connection was being opened.
            connection.pool.release(connection)
            return
        self._connection = connection
        self._target = connection.target.key
        self.attempts += 1
        if self._waits_since:
            self._end_wait()
        data = self._request_head()
        if self._pending:
            data = b"".join((data, *self._pending))
            self._pending = ()
        self._sent_at = sent_at = perf_counter()
        connection.send(self, data)
        if self.body_sent:
            self._await_answer(sent_at)
        else:
            self._downstream.connection_ready()

    def _end_wait(self) -> None:
        """Count the time until there was a connection, or until it was clear that there is none."""
        self._waited_s += perf_counter() - self._waits_since
        self._waits_since = 0.0

    def _await_answer(self, monotonic_now: float) -> None:
        """Start the clock of the answer's head: it runs from the request's last byte."""
        if self.response_started:
            self._downstream.answering(self.idle_timeout_s)
            return
        plan = self.plan
        route = self.location.route
        timeout_s = plan.response_timeout_s
        if route is not None and route.timeout_s is not None:
            timeout_s = route.timeout_s
        self._downstream.deadline = monotonic_now + timeout_s if timeout_s else inf

    def _request_head(self) -> bytes:
        """Return the head to send: the caller's fields first, ours behind them."""
        head = self._head
        block = head.block
        plan = self.plan
        downstream = self._downstream
        rules = plan.rules
        if downstream.facts.is_trusted:
            rules = plan.trusted_rules
            own_lines = downstream.own_lines.get(rules) or self._own_lines(rules)
            opening = self._opening(plan, rules, join_forwarded_for(own_lines, block, rules))
        else:
            own_lines = downstream.own_lines.get(rules) or self._own_lines(rules)
            opening = self._known_opening(plan, rules, own_lines)
        request_id = self.request_id
        if head.traceparent is not None:
            trace = head.traceparent
        else:
            trace_id = request_id if head.request_id is None else self._own_trace_id()
            # W3C Trace Context: flags 00, for nothing was recorded here.
            trace = b"".join((b"00-", trace_id, b"-", trace_id[16:], b"-00"))
        if block.needs_care:
            framing = self._care()
        elif block.chunked:
            framing = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        elif block.content_length is not None:
            framing = b"\r\nContent-Length: %d\r\n\r\n" % block.content_length
        else:
            framing = b"\r\n\r\n"
        return b"".join((opening, trace, b"\r\nX-Request-Id: ", request_id, framing))

    def _known_opening(self, plan: UpstreamPlan, rules: ForwardingRules, own_lines: bytes) -> bytes:
        """Return `_opening`, remembered with the permit: the same head is opened in the same way.

        A permit belongs to one snapshot and one route, and so to one plan.
        """
        place = self._head.place
        if place is None or place.permit is None or place.permit is not self.judged:
            return self._opening(plan, rules, own_lines)
        known: tuple[bytes, bytes] | None = place.opening
        if known is not None and known[0] == own_lines:
            return known[1]
        opening = self._opening(plan, rules, own_lines)
        is_own = plan.forwarded_rfc7239  # what that says is this connection's
        if not is_own and len(opening) <= LONGEST_REMEMBERED_OPENING_BYTES:
            place.opening = (own_lines, opening)
        return opening

    def _opening(self, plan: UpstreamPlan, rules: ForwardingRules, own_lines: bytes) -> bytes:
        """Return the head to send as far as it does not depend on trace, request id and body."""
        head = self._head
        block = head.block
        verdict = self.judged.verdict
        location = self.location
        fields = forwardable_fields(block, rules, traced=head.traceparent is not None)
        if location.stripped and rules.forwarded_x:
            fields = tell_prefix(fields, location.stripped)
        return b"".join(
            (
                head.method_bytes,
                b" ",
                location.forward_path,
                self.judged.query,
                b" HTTP/1.1\r\n",
                fields,
                b"" if not rules.forward_token else own_authorization(head, rules),
                verdict.verified.identity
                if verdict is not None and plan.identity_headers and verdict.verified is not None
                else b"",
                b""
                if plan.claim_fields is None or verdict is None or verdict.verified is None
                else self.gate.claims.lines(plan.name, plan.claim_fields, verdict.verified),
                own_lines,
                b"" if not plan.forwarded_rfc7239 else self._forwarded_line(),
                self.gate.via_lines[head.minor_version],
                b"traceparent: ",
            )
        )

    def _care(self) -> bytes:
        """Return the end of a head that has what most heads do not."""
        block = self._head.block
        framing = b"\r\n"
        if block.max_forwards is not None:
            left = int(block.max_forwards)
            if self.method == "OPTIONS":
                left -= 1  # RFC 9110 7.6.2; zero never comes this far
            framing += b"Max-Forwards: %d\r\n" % left
        self._protocol = wanted_protocol(self._head, self.location.route)
        if self._protocol:
            framing += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self._protocol
        elif block.takes_trailers:
            framing += b"Connection: TE\r\nTE: trailers\r\n"
        if block.chunked:
            framing += b"Transfer-Encoding: chunked\r\n"
        elif block.content_length is not None:
            framing += b"Content-Length: %d\r\n" % block.content_length
        return framing + b"\r\n"

    def _forwarded_line(self) -> bytes:
        downstream = self._downstream
        element = forwarded_element(downstream.peer, downstream.scheme, self._head.block.host)
        return b"Forwarded: %b\r\n" % element

    def _own_lines(self, rules: ForwardingRules) -> bytes:
        """Return what the upstream is told of the connection: remembered by the connection itself."""
        downstream = self._downstream
        lines = b""
        if rules.forwarded_x:
            lines += downstream.forwarded_x_lines
        if len(downstream.own_lines) >= RULES_PER_BLOCK:
            downstream.own_lines.clear()  # rules of snapshots that are gone
        downstream.own_lines[rules] = lines
        return lines

    def downstream_blocked(self, *, blocked: bool) -> None:
        """The caller does not take the answer, or takes it again."""
        self.is_downstream_blocked = blocked
        if self._connection is not None:
            if blocked:
                self._connection.pause_reading()
            else:
                self._connection.resume_reading()

    def upstream_blocked(self, *, blocked: bool) -> None:
        """The upstream does not take the body, or takes it again."""
        self._downstream.upstream_blocked(blocked=blocked)

    # --- the answer: from upstream to downstream

    def interim_received(self, head: ResponseHead) -> None:
        """Relay a 1xx answer; HTTP/1.0 has none (RFC 9110 15.2)."""
        if self._head.minor_version == 1:
            self._downstream.write(head.forward + b"\r\n")

    def head_received(self, head: ResponseHead, body: bytes, *, complete: bool) -> None:
        """Send the answer's head with the body data that came with it.

        Args:
            head: The upstream's answer.
            body: Body data, decoded; may be empty.
            complete: `body` is all of it.
        """
        self._ttfb_s = perf_counter() - self._sent_at
        self.status = head.status
        self.response_started = True
        self.response_bytes += len(body)
        downstream = self._downstream
        if not self.body_sent or downstream.gate.stopping:
            self.keep_alive = False  # the rest of the request will not be read as one
        framing = head.framed
        if head.natural_length or self.method == "HEAD":
            pass
        elif self._head.minor_version == 1:
            self._response_chunked = True
            self._response_options = head.connection_options
            framing = head.chunked_framed
            if body:
                body = chunk(body)
            if complete:
                body += LAST_CHUNK
        else:
            self.keep_alive = False  # an HTTP/1.0 body of unknown length ends with the connection
            framing = head.forward
        if not self.keep_alive:
            ending = b"\r\nConnection: close\r\n\r\n"
        elif self._head.minor_version == 1:
            ending = b"\r\n\r\n"
        else:
            ending = b"\r\nConnection: keep-alive\r\n\r\n"
        gate = self.gate
        date_line = b"" if head.has_date else gate.date_line
        if self.limit_lines:
            date_line += self.limit_lines
        downstream.write(
            b"".join((framing, date_line, gate.via_and_request_id, self.request_id, ending, body))
        )
        if not complete:
            downstream.answering(self.idle_timeout_s)

    def body_received(self, data: bytes) -> None:
        """Send on body data of the answer."""
        self.response_bytes += len(data)
        self._downstream.write(chunk(data) if self._response_chunked else data)
        self._downstream.answering(self.idle_timeout_s)

    def body_ended(self, data: bytes, trailers: bytes = b"") -> None:
        """Send on the last body data of the answer, which may be empty."""
        self.response_bytes += len(data)
        if self._response_chunked:
            passing = b""
            if trailers and self._head.block.takes_trailers:
                passing = forwardable_trailers(trailers, self._response_options, None)
            ending = last_chunk(passing)
            data = chunk(data) + ending if data else ending
        if data:
            self._downstream.write(data)

    def finished(self) -> None:
        """End: the answer was handed to the caller's connection whole."""
        now = perf_counter()
        self._upstream_s = now - self._sent_at
        self._connection = None
        self._record(now)
        self._downstream.answered(self, now)

    @property
    def idle_timeout_s(self) -> float:
        """Return how long upstream and answer may be silent, in seconds (0 = no limit)."""
        return self.plan.idle_timeout_s

    # --- the tunnel

    def may_switch(self, head: ResponseHead) -> bool:
        """Return whether this 101 switches to what was asked for."""
        return bool(self._protocol) and head.upgrade == self._protocol.lower() and head.content_length is None

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """Open the tunnel: the upstream has switched; `data` came behind its head."""
        connection = self._connection
        assert connection is not None
        downstream = self._downstream
        self._ttfb_s = perf_counter() - self._sent_at
        self.status = head.status
        self.response_started = True
        self.keep_alive = False
        self.tunnel = tunnel = Tunnel(
            self,
            downstream,
            connection,
            self.idle_timeout_s,
            is_websocket=self._protocol.lower() == WEBSOCKET,
        )
        downstream.write(
            b"".join(
                (
                    head.forward,
                    b"Connection: Upgrade\r\nUpgrade: ",
                    self._protocol,
                    b"\r\n",
                    self.limit_lines,
                    self.gate.via_and_request_id,
                    self.request_id,
                    b"\r\n\r\n",
                )
            )
        )
        if data:
            tunnel.from_upstream(data)
        held = downstream.tunnel_opened()
        if held and not connection.is_closed:
            tunnel.from_caller(held)
        if downstream.has_ended:
            tunnel.caller_ended()
        if self.gate.draining and self.tunnel is not None:
            tunnel.go_away()

    def judge_again(self, now: float) -> Decision | None:
        """Return the decision that ends the tunnel, or None while the request would still be let through."""
        protocol = self._protocol.decode("latin-1").lower()
        return self.gate.judge.judge_again(self._head, self._downstream.facts, self.judged, protocol, now)

    def tunnel_ended(self, reason: str, detail: str) -> None:
        """Record the request: both sides are closed."""
        if self.tunnel is None:
            return
        self.tunnel = None
        self._connection = None
        now = perf_counter()
        self._upstream_s = now - self._sent_at
        self._reason = reason
        self._error_detail = detail
        self._record(now)

    # --- when something goes wrong

    def connect_took(self, seconds: float) -> None:
        """Note how long opening a connection for this request took."""
        self._connect_s = seconds

    def not_connected(self, target: str) -> None:
        """Note the target that was tried last, for the record."""
        self._target = target
        self.attempts += 1
        self._unconnected += 1

    def must_wait(self) -> None:
        """Let no deadline of ours run: the pool bounds the time until there is a connection."""
        if self._downstream.relay is self:
            self._downstream.deadline = inf

    def no_connection(self, reason: Reason, detail: str, retry_after_s: float = 1.0) -> None:
        """Refuse: there is no connection to be had."""
        if self._downstream.relay is not self:
            return
        refusal = refusal_for(Decision(reason, self.location.label))
        if reason is Reason.CIRCUIT_OPEN:
            retry_after = str(max(ceil(retry_after_s), 1)).encode("ascii")
            refusal = replace(refusal, fields=((b"Retry-After", retry_after),))
        self.refuse(reason, detail, refusal)

    def closed_before_head(self, *, began: bool) -> None:
        """The upstream closed before its answer's head was whole.

        A connection that was kept alive may have been closed by the upstream just as the
        request went out: an idempotent request is then sent once more on a new one, and
        that does not count as a retry. Where there are several targets, it goes to another.
        """
        connection = self._connection
        self._connection = None
        assert connection is not None
        may_repeat = self._replay is not None and not began and not self.response_started
        if connection.requests == 1 or self.wants_fresh:
            may_repeat = may_repeat and self.retries < self.plan.retries
            self.retries += 1
            if may_repeat:
                connection.pool.count_failure(AttemptFailure.RESET)
        if may_repeat:
            self._waited_s += perf_counter() - self._sent_at
            self.wants_fresh = True
            self.avoided = connection.target.key
            self._pending = tuple(self._replay or ())
            self.upstream_blocked(blocked=False)  # what the lost connection did not take is kept
            self._ask()
            return
        self.broken(Reason.UPSTREAM_RESET, "the connection was closed before the answer's head")

    def broken(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """The upstream failed: refuse while nothing was answered, else cut the caller's connection."""
        self._connection = None
        if self._sent_at:
            self._upstream_s = perf_counter() - self._sent_at
        super().broken(reason, detail, refusal)

    def struck(self) -> None:
        """End as `internal`, and give up what was borrowed. Never raises."""
        connection = self._connection
        if self.tunnel is None:
            super().struck()
        else:
            self._strike_tunnel(self.tunnel)
        if connection is not None and connection.carries(self):
            connection.abandon()
        if self.tunnel is not None:
            self.gate.tunnels.discard(self.tunnel)

    def _strike_tunnel(self, tunnel: Tunnel) -> None:
        try:
            tunnel.end(Reason.INTERNAL.value, "the tunnel failed inside the gateway")
        except Exception:
            self.gate.log_internal_error()
            self._downstream.relay = None
            self._downstream.abort()

    def give_up(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """Stop working on it: a deadline passed, or the caller's bytes are no request.

        `refusal` says more of it to a caller that was not answered yet.
        """
        connection = self._connection
        if connection is not None:
            connection.abandon()
            if reason is Reason.UPSTREAM_TIMEOUT:
                connection.pool.failed(connection.target, detail, connection)
        self.broken(reason, detail, refusal)

    def refuse(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """Answer with a refusal and end."""
        if self._waits_since:
            self._end_wait()
        self.plan.pool.forget_waiter(self)
        super().refuse(reason, detail, refusal)

    def caller_left(self, reason: Reason = Reason.CLIENT_CLOSED) -> None:
        """Stop: nobody waits for the answer any more, or `reason` is why nobody gets it."""
        if self.tunnel is not None:
            self.tunnel.caller_lost(reason)
            return
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.abandon()
            self._upstream_s = perf_counter() - self._sent_at
        elif self._waits_since:
            self._end_wait()
        self.plan.pool.forget_waiter(self)
        super().caller_left(reason)
