"""Judge one request head: may it go on, and if not, why. Pure.

This is the order of a gate's questions, the only place where it stands:

    fields          was it here before, does it expect what nobody does
    target          where does it lead: issuer, route, nowhere
    switch          would it change the protocol with a body behind it
    body            is what it announces too long for all bodies
    issuer          then the service says the rest
    load            are requests refused because the process is late
    verdict         who asks, and may they (`gateway.enforce.enforcer`)
    Max-Forwards    is this gateway the last one that may see it

What stands before the load follows from the head and the snapshot alone: for a head whose permit
is remembered it was asked, and would be answered alike. A route's rate limit comes after a permit,
for it counts those who got one.

A judge belongs to one snapshot. Its facts are the head, the caller's, and the time.

Sources: RFC 9110 7.6.2 (Max-Forwards), 7.6.3 (Via), 7.8 (Upgrade), 10.1.1 (Expect).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.enforce.challenge import Refusal, refusal_for, refusal_for_head, refusal_for_length
from gateway.enforce.enforcer import Enforcer
from gateway.enforce.verdict import Permit, Place, Refused
from gateway.http1.request import FieldBlock, RequestHead
from gateway.policy.model import Decision, Route
from gateway.reasons import Reason
from gateway.settings.model import Mode

_USED_UP = Refusal(200, Reason.OK, "Max-Forwards is used up: this gateway answers itself.")


@dataclass(frozen=True, slots=True)
class CallerFacts:
    """What is known of who is at the other end of one connection, whatever it sends."""

    serves: int
    """The duties of the listener it came through."""
    peer_group: str = ""
    """Under which limits per peer it counts."""
    is_trusted: bool = False
    """Its forwarding fields are believed: it is one of `trusted_proxies`."""


class Shedding(Protocol):
    """Says which requests are refused because the process is late."""

    share: float
    """0 for none of them."""

    def refuses(self) -> bool:
        """Return whether this one is among them; asked once for each."""


@dataclass(slots=True, eq=False)
class Judge:
    """Judge request heads under one snapshot."""

    enforcer: Enforcer
    body_bytes: int
    """The longest body there may be; 0 for any."""
    own_name: bytes
    """What Via says of requests that came through this process."""
    shedding: Shedding
    peer_of: Callable[[CallerFacts, FieldBlock], str]
    """Return the group a request counts for: the peer's, or that of whom a trusted one names."""
    keep: Callable[[RequestHead], None]
    """Told of each head that is let through, before it is known whether it comes again."""

    def judge(self, head: RequestHead, caller: CallerFacts, now: float) -> Permit | Refused:
        """Return whether the request may go on. Never raises on any input.

        Args:
            head: The request's head.
            caller: Who sent it.
            now: Wall-clock seconds since the epoch.
        """
        place: Place | None = head.place
        if (
            place is None
            or place.permit is None
            or place.generation != self.enforcer.generation
            or place.serves != caller.serves
        ):
            settled = self._settle_head(head, caller)
            if not isinstance(settled, Place):
                return settled
            place = settled
        shedding = self.shedding
        if shedding.share and shedding.refuses():
            location = place.location
            refusal = refusal_for(Decision(Reason.OVERLOADED, location.label))
            return Refused(refusal, location, place.query)
        if place.permit is not None:
            permit = self.enforcer.recall(place, now)
            if permit is not None:
                return permit
        return self._decide(head, place, caller, now)

    def _settle_head(self, head: RequestHead, caller: CallerFacts) -> Place | Permit | Refused:
        """Ask what the head alone settles; return where it leads when that is a question of the rules."""
        block = head.block
        if block.needs_care:
            refusal = self._refuse_fields(block)
            if refusal is not None:
                return Refused(refusal)
        place = self.enforcer.place(head, caller.serves)
        if place.problem is not None:
            return Refused(refusal_for_head(place.problem))
        location = place.location
        if block.upgrade:
            refusal = _refuse_switch(head, location.route)
            if refusal is not None:
                return Refused(refusal)
        limit = self.body_bytes
        if limit and (block.content_length or 0) > limit:
            return Refused(refusal_for_length(limit, location.label), location, place.query)
        if location.is_issuer:
            self.keep(head)
            return Permit(location, place.query, None)
        return place

    def _refuse_fields(self, block: FieldBlock) -> Refusal | None:
        """Return the refusal for what the fields alone rule out, or None."""
        if block.via and any(self.own_name in value for value in block.via):
            return refusal_for(Decision(Reason.LOOP_DETECTED))
        if block.expect_unknown:
            return refusal_for(Decision(Reason.EXPECTATION_FAILED))
        return None

    def _decide(self, head: RequestHead, place: Place, caller: CallerFacts, now: float) -> Permit | Refused:
        """Ask who is asking and whether they may; remember a permit with the head."""
        block, location, query = head.block, place.location, place.query
        peer = caller.peer_group if not caller.is_trusted else self.peer_of(caller, block)
        verdict = self.enforcer.check(location, head, now, peer)
        if not verdict.permits:
            refusal = refusal_for(verdict.decision, authorization=head.authorization, query=query)
            return Refused(refusal, location, query, verdict)
        self.keep(head)
        if block.max_forwards is not None and head.method == "OPTIONS" and not int(block.max_forwards):
            # RFC 9110 7.6.2: the last one who may see it answers it.
            return Refused(_USED_UP, location, query, verdict)
        permit = Permit(location, query, verdict)
        self.enforcer.remember(place, permit)
        return permit

    def judge_again(
        self, head: RequestHead, caller: CallerFacts, permit: Permit, protocol: str, now: float
    ) -> Decision | None:
        """Return the decision that ends a tunnel, or None while its request would still be let through.

        Nothing is counted and nothing remembered.

        Args:
            head: The head that opened it.
            caller: Who sent it.
            permit: What it was opened with.
            protocol: What was switched to, in lower case.
            now: Wall-clock seconds since the epoch.
        """
        location = self.enforcer.place(head, caller.serves).location
        verified = None if permit.verdict is None else permit.verdict.verified
        decision = self.enforcer.judge_again(location, verified, now)
        route = location.route
        if route is None or protocol not in route.upgrade:
            return decision if not decision.permits else Decision(Reason.NO_ROUTE)
        if decision.permits or route.mode is Mode.SHADOW:
            return None
        return decision


def wanted_protocol(head: RequestHead, route: Route | None) -> bytes:
    """Return the first protocol that the caller names and the route lists, as the caller spells it.

    None is wanted in HTTP/1.0 or of the issuer: the field is then dropped, and the
    request is an ordinary one (RFC 9110 7.8).
    """
    if route is None or head.minor_version == 0:
        return b""
    for protocol in head.block.upgrade:
        if protocol.decode("latin-1").lower() in route.upgrade:
            return protocol
    return b""


def _refuse_switch(head: RequestHead, route: Route | None) -> Refusal | None:
    """Return the refusal for a request that would switch to a protocol of `route` and has a body.

    An offer of any other protocol is not for us: the request is an ordinary one (RFC 9110 7.8).
    """
    block = head.block
    if not (block.chunked or block.content_length) or not wanted_protocol(head, route):
        return None
    # Whose bytes a body's would be after a 101 is exactly what two parsers disagree about.
    detail = "A request to switch to a protocol of this route cannot have a body: send it without."
    return Refusal(400, Reason.BAD_FRAMING, detail)
