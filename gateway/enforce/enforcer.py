"""Turn one request head into one verdict.

This is the order of a gate's questions: where does the request lead (path, host,
route), who is asking (token, known from the cache or verified now), and may they
(`gateway.policy.decide`). An enforcer belongs to one snapshot; the token cache and
the revocations it looks into outlive it. What is remembered on a cached token is
compared with the clock, the revocations and the snapshot's generation on every
request, so nothing taken away works once more.

It sends nothing and counts only what the token cache did. How a refusal looks is
`gateway.enforce.challenge`; framing was judged before by `gateway.http1.request`.

Sources: RFC 6750 2 and 3, RFC 9068 4.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from gateway.enforce.bearer import bearer_token
from gateway.enforce.location import NO_LOCATION, SERVES_GATE, SERVES_ISSUER, Location
from gateway.enforce.standing import why_distrusted, why_fallen, why_over
from gateway.enforce.token_cache import NOTHING_TOLD, CachedToken, Holder, TokenCache, VerifiedToken
from gateway.enforce.verdict import OF_SNAPSHOT, OF_TOKEN, Depends, Permit, Place, Verdict, make_verdict
from gateway.enforce.verifier import REFUSED_TOKENS, verify_access_token
from gateway.hosts import normalise_host
from gateway.http1.memo import Memo
from gateway.http1.request import BadRequest, RequestHead
from gateway.http1.target import split_target
from gateway.policy.decide import decide
from gateway.policy.evaluate import WITHOUT_SLASH, Located, locate_path
from gateway.policy.model import Decision, Exceeded, Grants, Route
from gateway.policy.paths import BadPath, canonical_path
from gateway.policy.rate_limits import BadTokenLimit
from gateway.policy.rewrite import rewrite_path
from gateway.policy.table import RouteTable
from gateway.reasons import Reason
from gateway.settings.model import Access
from gateway.tokens.claims import AccessToken
from gateway.tokens.key_ring import KeyRing
from gateway.tokens.revocations import Revocations

LOCATION_MEMO_ENTRIES = 2048
LOCATIONS_BUDGET_BYTES = 2 * 1024 * 1024
"""Of one generation of them."""
LONGEST_REMEMBERED_PATH_BYTES = 512
"""Longer paths are looked up anew each time: the memo must not grow with what strangers send."""
VERDICTS_PER_TOKEN = 64
"""More are made anew: a caller with many tokens must not fill memory by using many routes."""
HOST_MEMO_ENTRIES = 256

# Members of an enum cost a look-up through its metaclass each time; these are on the hot path.
_PUBLIC = Access.PUBLIC
_NO_TOKEN = Reason.NO_TOKEN


def _weigh_location(key: tuple[str, bytes, bytes | None, int], location: Location, _: set[int]) -> int:
    """Return what a location takes with its key; measured, rounded up."""
    path, host = key[1], key[2]
    return 800 + 2 * len(path) + len(host or b"") + 2 * len(location.forward_path) + len(location.logged_path)


class Credentials(Protocol):
    """What a caller presents: a `RequestHead`, or a `FieldBlock` that has it among its fields."""

    @property
    def authorization(self) -> bytes | None:
        """Return the first Authorization value."""

    @property
    def authorization_count(self) -> int:
        """Return how many Authorization fields there are."""


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """Why a token is none now, and whose it is if that was verified."""

    reason: Reason
    holder: Holder | None = None


CACHE_RESULTS: tuple[tuple[str, str], ...] = (
    (Reason.OK, "hit"),
    (Reason.BAD_SIGNATURE, "hit"),
    (Reason.OK, "miss"),
    *((reason, "miss") for reason in REFUSED_TOKENS),
)
"""(result, hit or miss) of every judgement that `VerifyCounts` can count."""


@dataclass(slots=True)
class VerifyCounts:
    """How often tokens were judged, by outcome; plain integers for the metrics to take."""

    hits: int = 0
    bad_hits: int = 0
    misses: dict[str, int] = field(default_factory=dict)
    """Result (`ok` or a reason) -> tokens that were judged anew."""

    def take(self) -> list[tuple[tuple[str, str], int]]:
        """Return ((result, hit or miss), count) for what was counted since the last call."""
        taken = [((result, "miss"), count) for result, count in self.misses.items()]
        taken.append(((str(Reason.OK), "hit"), self.hits))
        taken.append(((str(Reason.BAD_SIGNATURE), "hit"), self.bad_hits))
        self.hits = self.bad_hits = 0
        self.misses.clear()
        return [(key, count) for key, count in taken if count]


class Enforcer:
    """Judge request heads under one snapshot.

    Args:
        table: The compiled routes.
        grants: What each client may hold tokens for, now.
        keys: The keys tokens may be signed with, or None while there are none.
        issuer: The `iss` every token must have.
        issuer_paths: Canonical paths that lead to the issuer.
        cache: Verified tokens; shared with the snapshots before and after.
        revocations: Shared likewise.
        counts: Shared likewise.
        generation: A number no other snapshot of the process has.
        observe_verification: Told the algorithm and the seconds of each signature check.
        stopwatch: Monotonic seconds.
        bad_tokens: Counts wrong signatures by peer, or None; shared with the snapshots before and after.
    """

    __slots__ = (
        "_bad_tokens",
        "_cache",
        "_counts",
        "_grants",
        "_hosts",
        "_issuer",
        "_issuer_paths",
        "_keys",
        "_locations",
        "_observe_verification",
        "_revocations",
        "_stopwatch",
        "_table",
        "generation",
    )

    def __init__(
        self,
        *,
        table: RouteTable,
        grants: Grants,
        keys: KeyRing | None,
        issuer: str,
        issuer_paths: Collection[str],
        cache: TokenCache,
        revocations: Revocations,
        counts: VerifyCounts,
        generation: int,
        observe_verification: Callable[[str, float], None],
        stopwatch: Callable[[], float],
        bad_tokens: BadTokenLimit | None = None,
    ) -> None:
        self._table = table
        self._grants = grants
        self._keys = keys
        self._issuer = issuer
        self._issuer_paths = frozenset(issuer_paths)
        self._cache = cache
        self._revocations = revocations
        self._counts = counts
        self.generation = generation
        self._observe_verification = observe_verification
        self._stopwatch = stopwatch
        self._bad_tokens = bad_tokens
        self._locations: Memo[tuple[str, bytes, bytes | None, int], Location] = Memo(
            LOCATION_MEMO_ENTRIES, weigh=_weigh_location, budget=LOCATIONS_BUDGET_BYTES
        )
        self._hosts: Memo[bytes, str] = Memo(HOST_MEMO_ENTRIES)

    def place(self, head: RequestHead, serves: int) -> Place:
        """Return where `head` leads; remembered on the head itself while this snapshot lives.

        Args:
            head: A request head.
            serves: The listener's duties.
        """
        known: Place | None = head.place
        if known is not None and known.generation == self.generation and known.serves == serves:
            return known
        host = head.block.host
        split = split_target(head.target, host)
        if isinstance(split, BadRequest):
            return Place(self.generation, serves, NO_LOCATION, b"", split)
        path, query = split
        location = self.locate(head.method, path, host, serves=serves)
        place = head.place = Place(self.generation, serves, location, query)
        return place

    def locate(self, method: str, path: bytes, host: bytes | None, *, serves: int) -> Location:
        """Return where a request leads.

        Args:
            method: The request method.
            path: The path of the target as sent.
            host: The Host value as sent, or None.
            serves: The listener's duties.
        """
        key = (method, path, host, serves)
        location = self._locations.young.get(key) or self._locations.recall(key)
        if location is None:
            location = self._locate(method, path, host, serves)
            if location.refusal is None and len(path) <= LONGEST_REMEMBERED_PATH_BYTES:
                self._locations.remember(key, location)
        return location

    def _locate(self, method: str, raw_path: bytes, host: bytes | None, serves: int) -> Location:
        path = canonical_path(raw_path)
        if isinstance(path, BadPath):
            return Location(None, b"", refusal=Decision(Reason.BAD_PATH, found=path.detail))
        if serves & SERVES_ISSUER and path.text in self._issuer_paths:
            return Location(None, path.text.encode("ascii"), is_issuer=True, logged_path=path.text)
        located: Located | Decision = Decision(Reason.NO_ROUTE)
        if serves & SERVES_GATE:
            located = locate_path(self._table, self._host_name(host), path, method)
        if isinstance(located, Decision):
            is_twin = path.text.endswith("/") and path.text[:-1] in self._issuer_paths
            if located.reason is Reason.NO_ROUTE and serves & SERVES_ISSUER and is_twin:
                located = replace(located, hint=WITHOUT_SLASH)
            return Location(None, b"", refusal=located, logged_path=path.text)
        rewritten = rewrite_path(located.route, path)
        return Location(
            located.route,
            rewritten.path.encode("ascii"),
            rewritten.stripped.encode("ascii"),
            logged_path=path.text,
            is_limited=located.route.rate_limit is not None,
        )

    def _host_name(self, host: bytes | None) -> str:
        if host is None:
            return ""
        name = self._hosts.recall(host)
        if name is None:
            name = normalise_host(host) or ""
            self._hosts.remember(host, name)
        return name

    def check(self, location: Location, credentials: Credentials, now: float, peer: str = "") -> Verdict:
        """Return the verdict for a request that leads to a route of the gate.

        Args:
            location: From `locate`; not the issuer's.
            credentials: The request's head, or any other holder of its Authorization.
            now: Wall-clock seconds since the epoch.
            peer: The caller's `gateway.policy.peers.peer_group`.
        """
        route = location.route
        if route is None:
            return Verdict(location.refusal or Decision(Reason.INTERNAL))
        if credentials.authorization_count > 1:  # whatever the route demands: two parsers may choose two
            return make_verdict(Decision(Reason.DUPLICATE_AUTHORIZATION, route.label), route)
        if route.access is _PUBLIC:
            decision = decide(route, None, grants=self._grants, now=now)
            return Verdict(decision, permits=True, depends=OF_SNAPSHOT)
        raw = self._find_token(credentials)
        if isinstance(raw, bytes):
            judged = self.verify(raw, now, peer)
            if isinstance(judged, CachedToken):
                verdict: Verdict | None = judged.verdicts.get(route)
                if verdict is None or (verdict.valid_until is not None and now >= verdict.valid_until):
                    verdict = self._decide(route, judged, now)
                return verdict
            if isinstance(judged, Exceeded):
                decision = Decision(Reason.RATE_LIMITED, route.label, exceeded=judged)
                return make_verdict(decision, route, depends=OF_TOKEN | Depends.CALLER)
            hint = f"This issuer is {self._issuer}." if judged.reason is Reason.WRONG_ISSUER else ""
            return make_verdict(Decision(judged.reason, route.label, hint=hint), route, holder=judged.holder)
        if raw is _NO_TOKEN:
            decision = decide(route, None, grants=self._grants, now=now)
            return make_verdict(decision, route, depends=OF_SNAPSHOT)
        return make_verdict(Decision(raw, route.label), route)

    def remember(self, place: Place, permit: Permit) -> None:
        """Keep a permit for the very head that leads to `place`, if its verdict may be remembered."""
        verdict = permit.verdict
        if verdict is None or not verdict.may_be_remembered:
            return
        verified, valid_until = verdict.verified, verdict.valid_until
        if valid_until is None:
            valid_until = inf
        if verified is not None and verified.token.expires_at < valid_until:
            valid_until = verified.token.expires_at
        place.valid_until = valid_until
        place.revocations = self._revocations.generation
        place.permit = permit

    def recall(self, place: Place, now: float) -> Permit | None:
        """Return the permit that was kept for this head, or None when it must be made anew.

        Here is compared what `gateway.enforce.verdict.COMPARED` names: the time and the revocations;
        a new snapshot makes a new place.
        """
        permit = place.permit
        if permit is None or now >= place.valid_until:
            return None
        revocations = self._revocations
        if place.revocations != revocations.generation:
            return None
        lease = revocations.lease
        if lease is not None and not lease.holds():
            return None
        assert permit.verdict is not None
        verified = permit.verdict.verified
        if verified is not None:
            verified.used = True
            self._counts.hits += 1
        return permit

    def judge_again(self, location: Location, verified: VerifiedToken | None, now: float) -> Decision:
        """Return the decision that a request which was let through would get now.

        For what goes on long after its head: a tunnel. Nothing is counted.
        """
        route = location.route
        if route is None:
            return location.refusal or Decision(Reason.NO_ROUTE)
        if verified is None or route.access is _PUBLIC:
            return decide(route, None, grants=self._grants, now=now)
        token = verified.token
        fallen = why_fallen(
            token, keys=self._keys, issuer=self._issuer, revocations=self._revocations, now=now
        )
        if fallen is not None:
            return Decision(fallen, route.label)
        return decide(route, token, grants=self._grants, now=now)

    def _find_token(self, credentials: Credentials) -> bytes | Reason:
        """Return what `bearer_token` says of these fields."""
        authorization = credentials.authorization
        if authorization is None:
            return _NO_TOKEN
        if authorization.startswith(b"Bearer "):
            raw = authorization[7:]
            if raw in self._cache.main:  # then it has the form of a token
                return raw
        return bearer_token(authorization, credentials.authorization_count)

    def _decide(self, route: Route, cached: CachedToken, now: float) -> Verdict:
        """Return the verdict for a verified token, and remember it beside the token."""
        decision = decide(route, cached.verified.token, grants=self._grants, now=now)
        verdict = make_verdict(decision, route, cached.verified, depends=OF_TOKEN)
        if verdict.may_be_remembered:  # whoever presents the same token is given it
            if len(cached.verdicts) >= VERDICTS_PER_TOKEN:
                cached.verdicts.clear()
            cached.verdicts[route] = verdict
        return verdict

    def verify(self, raw: bytes, now: float, peer: str = "") -> CachedToken | RefusedToken | Exceeded:
        """Return the cache's entry of a verified token, or why it is not one now. Never raises on any input.

        A token that is not known yet is not even looked at when too many bad ones came from `peer`.
        """
        entry = self._cache.get(raw)
        if entry is not None and entry.generation != self.generation and not self._renew(raw, entry):
            entry = None
        if entry is None:
            judged = self._verify_anew(raw, now, peer)
            if not isinstance(judged, CachedToken):
                return judged
            entry = judged
        else:
            self._counts.hits += 1
        token, revocations = entry.verified.token, self._revocations
        reason = why_over(token, revocations, now, entry.cleared)
        if reason is None:
            entry.cleared = revocations.generation
            return entry
        if reason is Reason.EXPIRED:
            self._cache.expire(raw, _holder(token))
        return RefusedToken(reason, _holder(token))

    def _renew(self, raw: bytes, entry: CachedToken) -> bool:
        """Take an entry over into this snapshot; return whether its key and issuer still stand."""
        if why_distrusted(entry.verified.token, self._keys, self._issuer) is not None:
            self._cache.drop(raw)
            return False
        entry.verdicts.clear()
        entry.verified.told = NOTHING_TOLD  # upstreams may be told something else now
        entry.generation = self.generation
        return True

    def _verify_anew(self, raw: bytes, now: float, peer: str) -> CachedToken | RefusedToken | Exceeded:
        if self._keys is None:
            return RefusedToken(Reason.KEYS_UNAVAILABLE)
        known_bad = self._cache.known_bad(raw)
        if known_bad is not None:
            self._counts.bad_hits += 1
            return RefusedToken(known_bad)
        begun = self._stopwatch()
        limit = self._bad_tokens
        if limit is not None:
            exceeded = limit.exceeded(peer, begun)
            if exceeded is not None:
                return exceeded
        judged = verify_access_token(raw, keys=self._keys, issuer=self._issuer, now=now)
        misses = self._counts.misses
        if isinstance(judged, Reason):
            misses[judged] = misses.get(judged, 0) + 1
            if judged is Reason.BAD_SIGNATURE:
                self._cache.put_bad(raw, judged)
                if limit is not None:
                    limit.count(peer, begun)
            return RefusedToken(judged, self._cache.expired_of(raw) if judged is Reason.EXPIRED else None)
        misses[Reason.OK] = misses.get(Reason.OK, 0) + 1
        self._observe_verification(self._keys.verification[judged.kid].alg, self._stopwatch() - begun)
        entry = CachedToken(judged, self.generation)
        self._cache.put(raw, entry)
        return entry


def _holder(token: AccessToken) -> Holder:
    return Holder(token.client_id, token.audience)
