"""Hold one request from its head to its record, whatever answers it.

Made for every head that is a request, of what the judge said of it. One that is refused is nothing
more than this; one that a route permits is a `gateway.proxy.relay.Relay`, one that this process
answers itself a `gateway.proxy.service_call.ServiceCall`. It is recorded once, when it ends.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.enforce.challenge import Refusal, refusal_for
from gateway.enforce.verdict import Permit, Refused
from gateway.http1.request import RequestHead
from gateway.observe.exchange import NOT_APPLICABLE, Exchange
from gateway.policy.model import Decision
from gateway.reasons import Reason

if TYPE_CHECKING:
    from gateway.proxy.downstream import DownstreamConnection
    from gateway.proxy.gate import Gate
    from gateway.proxy.tunnel import Tunnel

Judged = TypeVar("Judged", bound=Permit | Refused, covariant=True)
"""What the judge said of it. What asks an upstream or a service is made of a `Permit` alone."""

_NOT_JUDGED = ("", "", "", Reason.OK.value)


class RequestInFlight(Generic[Judged]):
    """One request in flight.

    Not slotted: most attributes keep their class's value for most requests, which is
    cheaper than thirty stores per request.
    """

    attempts = 0
    _unconnected = 0
    response_started = False
    ends_unasked = False
    """The connection ends after a refusal, and the caller may be sending on."""
    limit_lines = b""
    """RateLimit fields for the answer, where the route has a limit."""
    request_bytes = 0
    response_bytes = 0
    status = 0
    tunnel: Tunnel | None = None
    _upstream = ""
    """What was asked for an answer: for the record."""
    _target = ""
    _waited_s = 0.0
    """Spent neither here nor on the attempt that `_upstream_s` is of: waiting, and attempts that failed."""
    _sent_at = 0.0
    _connect_s = NOT_APPLICABLE
    _ttfb_s = NOT_APPLICABLE
    _upstream_s = NOT_APPLICABLE
    _reason = ""
    """Why the request ended other than decided: a word of the closed list."""
    _error_detail = ""
    _trace_id = b""
    """Of the trace context that begins here, where it is not the request id."""

    def __init__(
        self,
        gate: Gate,
        downstream: DownstreamConnection,
        head: RequestHead,
        judged: Judged,
        at: float,
        started: float,
        keep_alive: bool,
        has_body: bool,
    ) -> None:
        self.gate = gate
        self._downstream = downstream
        self._head = head
        self.judged = judged
        self.location = judged.location
        self.method = head.method
        known_id = head.request_id
        self.request_id = gate.new_request_id() if known_id is None else known_id
        self.at = at
        """Wall-clock seconds of the head's arrival."""
        self._started = started
        self._decided_after_s = perf_counter() - started
        self.keep_alive = keep_alive
        """The caller's connection may carry another request after this one."""
        self.has_body = has_body
        self.body_sent = not has_body
        """The request's body, if any, was handed on whole."""

    @property
    def idle_timeout_s(self) -> float:
        """Return how long the answer may be silent, in seconds (0 = no limit)."""
        return 0.0

    @property
    def is_version_0(self) -> bool:
        """Return whether the request was HTTP/1.0."""
        return self._head.minor_version == 0

    @property
    def has_expectation(self) -> bool:
        """Return whether the caller waits, for 100 or what it takes for that, before it sends the body."""
        return self._head.block.expect_continue or self._head.block.expect_unknown

    # --- what becomes of it; one that is refused has nothing to do

    def begin(self) -> None:
        """Work on it."""

    def take_body(self, pieces: list[bytes], *, last: bool, trailers: bytes = b"") -> None:
        """Take body data of the request, in the order it arrived, and whether it was the last."""

    def downstream_blocked(self, *, blocked: bool) -> None:
        """The caller does not take the answer, or takes it again."""

    # --- how it ends

    def refuse(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """Answer with a refusal and end."""
        if refusal is None:
            refusal = refusal_for(Decision(reason, self.location.label))
        self._reason = reason.value
        self._error_detail = detail
        self.status = refusal.status
        self.response_bytes += self._downstream.send_refusal(refusal, self)
        self._record(perf_counter())
        self._downstream.answered(self, perf_counter())

    def give_up(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """Stop working on it: a deadline passed, or the caller's bytes are no request.

        `refusal` says more of it to a caller that was not answered yet.
        """
        self.broken(reason, detail, refusal)

    def broken(self, reason: Reason, detail: str, refusal: Refusal | None = None) -> None:
        """There will be no more of an answer: refuse while there was none, else cut the connection."""
        if not self.response_started:
            self.refuse(reason, detail, refusal)
            return
        self._reason = reason.value
        self._error_detail = detail
        self._record(perf_counter())
        self._downstream.relay = None  # recorded: the cut below ends nothing more
        self._downstream.cut(ends_the_body=self.is_version_0)

    def caller_left(self, reason: Reason = Reason.CLIENT_CLOSED) -> None:
        """Stop: nobody waits for the answer any more, or `reason` is why nobody gets it."""
        self._reason = reason.value
        self._record(perf_counter())

    def struck(self) -> None:
        """End as `internal`: a mistake of ours struck it, at whatever point. Never raises.

        A request that had ended by then is over for its caller as well, unless the next one has begun.
        """
        downstream = self._downstream
        try:
            if downstream.relay is self:
                self.broken(Reason.INTERNAL, "the answer failed inside the gateway")
            elif downstream.relay is None:
                downstream.abort()
        except Exception:
            # What is left: nobody may wait for it, and the caller must not take a part for the whole.
            self.gate.log_internal_error()
            downstream.relay = None
            downstream.abort()

    # --- the record

    def _own_trace_id(self) -> bytes:
        """Return the same trace id for each attempt, where the caller chose the request id."""
        if not self._trace_id:
            self._trace_id = self.gate.new_request_id()
        return self._trace_id

    def _record(self, monotonic_now: float) -> None:
        duration_s = monotonic_now - self._started
        judged = self.judged
        verdict, query = judged.verdict, judged.query
        head = self._head
        block = head.block
        client, audience, decision, reason = _NOT_JUDGED if verdict is None else verdict.words
        request_id = self.request_id.decode("ascii")
        if head.traceparent is not None:
            trace_id = head.traceparent[3:35].decode("ascii")
        else:  # what the upstream was told, if anything
            trace_id = (
                request_id if self.attempts and head.request_id is None else self._trace_id.decode("ascii")
            )
        upstream_s = self._upstream_s
        self.gate.record(
            Exchange(
                self.at,
                self.method,
                block.host_text,
                self.location.logged_path,
                query[1:].decode("ascii") if query else "",
                self.location.name,
                client,
                audience,
                self._reason or reason,
                decision,
                self.status,
                request_id,
                trace_id,
                self._downstream.peer,
                self._downstream.listener_name,
                self._upstream,
                self._target,
                self.attempts,
                self.request_bytes,
                self.response_bytes,
                duration_s,
                duration_s - self._waited_s - (max(0.0, upstream_s)),
                self._decided_after_s,
                self._connect_s,
                self._ttfb_s,
                upstream_s,
                "HTTP/1.1" if head.minor_version else "HTTP/1.0",
                self._error_detail,
                self._unconnected,
            )
        )


AnyRequest = RequestInFlight[Permit | Refused]
