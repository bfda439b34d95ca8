"""Serve the issuer with aiohttp.

One handler for everything: which path is which endpoint comes from the current snapshot, so
a reload can move endpoints, and every answer, errors included, is made here. The
decisions are elsewhere and pure; here are sockets, the clock, the store and logs.

Order of checks (the first failure is the answer): path, method, content type, query,
size, form, `grant_type`, client authentication, then the grant's own.

Sources: RFC 6749 3.2, 4.4 and 5; RFC 7009 2; RFC 7662 2; RFC 8414 3; RFC 9110 13.1.2, 15.5.
"""

import asyncio
import logging
import math
import secrets
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import assert_never

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import RawRequestMessage

from gateway.clients.assertions import Assertion
from gateway.clients.authenticate import (
    NO_METHOD,
    AuthFailure,
    PresentedAssertion,
    PresentedSecret,
    ProvenClient,
    read_credentials,
)
from gateway.clients.authorization import NOT_AUTHORIZED, Grant, GrantRequest, resolve_grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.clients.scrypt_worker import OverloadedError
from gateway.http1.media_type import is_utf8_media_type
from gateway.issuer.assertions import (
    GRANT_METHOD,
    Caller,
    method_of,
    prove_identity,
    read_client_assertion,
    read_grant_assertion,
)
from gateway.issuer.claims import build_claims
from gateway.issuer.context import IssuerContext, PeerInfo
from gateway.issuer.cors import answer_headers, preflight_headers
from gateway.issuer.endpoints import Endpoint
from gateway.issuer.errors import NO_STORE, ErrorAnswer, answer_problem
from gateway.issuer.forms import MAX_BODY_BYTES, Form, check_query, missing, parse_form
from gateway.issuer.introspect import introspect
from gateway.issuer.issue import refuse_size, token_reply
from gateway.issuer.logins import Logins, SlowedDown, claimed_client
from gateway.issuer.rate_limit import ClientRateLimit
from gateway.issuer.revoke import find_revocable
from gateway.issuer.signer import SignerOverloadedError, TokenSigner
from gateway.issuer.snapshot import Document, IssuerSnapshot
from gateway.oauth_names import JWT_BEARER, grant_types
from gateway.observe.issuer_request import LONGEST_SCOPE, IssuerRequest, cut
from gateway.own_answers import OwnServer
from gateway.state.interface import StateUnavailableError
from gateway.tokens.claims import AccessToken, read_access_token
from gateway.tokens.key_ring import SigningKey

DOCUMENT_MAX_AGE_S = 300

_CREDENTIALS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})
_PEER = web.RequestKey("peer", PeerInfo)
"""Under which a request keeps who sends it."""
_LONGEST_LIST = 1024
"""Octets of a list in a field that are looked at: there is no need for more, and each costs time."""
_AROUND_TOKENS = " \t\r\n\"'\ufeff\u200b"
"""Quotation marks, byte order mark and zero-width space among it."""
_TOKEN_SCHEMES = frozenset({"bearer", "dpop"})
_FORM_TYPE = "application/x-www-form-urlencoded"
RESULT_OK = "ok"
_NONE = "_none_"
_BUSY = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the issuer is busy; try again shortly", cause="overloaded"
)
_NO_KEY = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the issuer has no signing key now; try again later", cause="no_key"
)
_NO_STATE = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the revocation cannot be recorded now; the token is still valid"
)
_TOO_MANY_FAILURES = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "too many failed client authentications from here; try again later"
)
_NOT_COMPLETE = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "what was revoked elsewhere is not known now; try again shortly"
)
_TOO_MANY_REVOKED = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE,
    "too many tokens of this client are revoked; the operator may revoke all of them at once",
)
_TOO_MANY_REQUESTS = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "more requests of this client than issuer.rate_limit allows"
)
SLOWED_DOWN = "slowed_down"
"""Why a login is not looked at: a peer was wrong too often. A word of metrics and logs."""
_JUST_REVOKED = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the tokens of this client were just revoked; ask again in a second"
)
_INTERNAL = OAuthProblem(ErrorCode.SERVER_ERROR, "internal error")
_UNREADABLE = OAuthProblem(
    ErrorCode.INVALID_REQUEST, "the request cannot be read; look for a field that comes twice"
)
REASON_FIELD = "Sidegate-Reason"
"""Tells the data plane which word to record; it goes no further."""
_LARGEST_HEAD = 4 * 1024 * 1024
"""More than `limits.header_bytes` can be."""

_log = logging.getLogger("gateway.issuer")


def build_issuer(context: IssuerContext) -> "Issuer":
    """Return the issuer; it opens and closes nothing that `context` holds."""
    return Issuer(context)


def build_issuer_runner(issuer: "Issuer") -> web.ServerRunner:
    """Return the runner for `issuer`: no access log (the data plane writes one), no signal handlers."""
    return _Runner(issuer)


class _Request(web.BaseRequest):
    """A request to the issuer: without an application there is no router, whose work would be wasted."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        _finish_headers(response)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> _Request:
    loop = asyncio.get_running_loop()
    return _Request(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)


def _refuse_unread(status: int) -> web.Response:
    """Return the OAuth error for a request that cannot be read."""
    return _error_response(answer_problem(_INTERNAL if status >= 500 else _UNREADABLE))


class _Runner(web.ServerRunner):
    """Serves an issuer and closes it."""

    __slots__ = ("_issuer",)

    def __init__(self, issuer: "Issuer") -> None:
        # The gate has judged a head before it comes here: its limits count.
        server = OwnServer(
            issuer.serve,
            refuse=_refuse_unread,
            request_factory=_make_request,
            max_line_size=_LARGEST_HEAD,
            max_field_size=_LARGEST_HEAD,
            max_headers=_LARGEST_HEAD,
        )
        super().__init__(server, handle_signals=False)
        self._issuer = issuer

    async def cleanup(self) -> None:
        """Stop serving, and end what the issuer began itself."""
        await super().cleanup()
        self._issuer.close()


class Issuer:
    """The one handler of every path, and what it works with."""

    __slots__ = ("_context", "_logins", "_rate_limit", "_signer")

    def __init__(self, context: IssuerContext) -> None:
        self._context = context
        self._signer = TokenSigner()
        self._rate_limit = ClientRateLimit()
        self._logins = Logins(context)

    def close(self) -> None:
        """End the signer."""
        self._signer.close()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever goes wrong, the answer is our JSON."""
        try:
            if hdrs.EXPECT in request.headers:
                unmet = _meet_expectation(request)
                if unmet is not None:
                    return _error_response(unmet)
            answer = await self._answer(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            _log_internal_error(error)
            answer = answer_problem(_INTERNAL)
        return _error_response(answer) if isinstance(answer, ErrorAnswer) else answer

    async def _answer(self, request: web.BaseRequest) -> web.Response | ErrorAnswer:
        snapshot = self._context.snapshot()
        match snapshot.endpoints.get(request.rel_url.raw_path):
            case None:
                return answer_problem(OAuthProblem(ErrorCode.NOT_FOUND, "no such endpoint"))
            case Endpoint.JWKS:
                return _document(request, snapshot.jwks, {"Access-Control-Allow-Origin": "*"})
            case Endpoint.SERVER_METADATA:
                return _document(request, snapshot.server_metadata, {})
            case Endpoint.OPENID_METADATA:
                return _document(request, snapshot.openid_metadata, {})
            case Endpoint.TOKEN:
                return await self._token_for_pages(request, snapshot)
            case Endpoint.INTROSPECTION:
                with self._logged(request, "introspection request") as entry:
                    return _noted(entry, await self._introspect(request, snapshot, entry))
            case Endpoint.REVOCATION:
                with self._logged(request, "revocation request") as entry:
                    return _noted(entry, await self._revoke(request, snapshot, entry))
            case endpoint:
                assert_never(endpoint)

    # --- the three endpoints that take forms -------------------------------------

    async def _token_for_pages(self, request: web.BaseRequest, snapshot: IssuerSnapshot) -> web.Response:
        """Answer the token endpoint, and tell browsers which pages may read the answer."""
        origins = snapshot.issuer.cors_origins
        origin = request.headers.getall(hdrs.ORIGIN, ())
        if origins and request.method == hdrs.METH_OPTIONS:
            allowed = preflight_headers(origins, origin)
            if allowed is not None:
                return web.Response(status=204, headers=allowed)
        answer = await self._token(request, snapshot)
        response = _error_response(answer) if isinstance(answer, ErrorAnswer) else answer
        response.headers.update(answer_headers(origins, origin))
        return response

    async def _token(self, request: web.BaseRequest, snapshot: IssuerSnapshot) -> web.Response | ErrorAnswer:
        started = time.perf_counter()
        with self._logged(request, "token request") as entry:
            try:
                return _noted(entry, await self._issue(request, snapshot, entry))
            finally:
                self._context.observer.token_request(
                    "_OTHER" if entry.asked_grant else entry.grant or _NONE,
                    entry.auth_method or NO_METHOD,
                    entry.client or _NONE,
                    entry.result,
                    time.perf_counter() - started,
                )

    async def _issue(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, entry: IssuerRequest
    ) -> web.Response | ErrorAnswer:
        form = await _read_form(request)
        if isinstance(form, ErrorAnswer):
            return form
        signing_key = snapshot.keys.active
        if signing_key is None:  # before anything is used up that works once
            return answer_problem(_NO_KEY)
        asked = GrantRequest(form.get("audience"), form.resources, form.get("scope"))
        entry.asked_audience = cut(asked.audience or " ".join(asked.resources))
        entry.asked_scope = cut(asked.scope, LONGEST_SCOPE)
        grant_type = _check_grant_type(form, entry)
        if isinstance(grant_type, OAuthProblem):
            return answer_problem(grant_type)
        if grant_type == JWT_BEARER:
            proven = await self._prove_by_grant(request, snapshot, form, entry)
        else:
            proven = await self._authenticate(request, snapshot, form, entry)
        if isinstance(proven, ErrorAnswer):
            return proven
        client = proven.client
        limited = self._count_request(client.id, snapshot)
        if limited is not None:
            return limited
        if grant_type not in client.grants:
            return answer_problem(
                OAuthProblem(
                    ErrorCode.UNAUTHORIZED_CLIENT, f"grant_type: the client may not use {grant_type}"
                )
            )
        now = self._context.clock()
        grant = resolve_grant(client, asked, default_lifetime_s=snapshot.issuer.token_lifetime_s, now=now)
        if isinstance(grant, OAuthProblem):
            if grant.cause == NOT_AUTHORIZED and entry.asked_audience not in snapshot.registry.clients:
                entry.cause = "unknown_audience"
            return answer_problem(grant)
        issued = await self._hand_out(client, grant, grant_type, signing_key, snapshot, now)
        if isinstance(issued, web.Response):
            entry.audience, entry.scope = grant.audience, cut(" ".join(grant.scopes), LONGEST_SCOPE)
            entry.lifetime_s = grant.lifetime_s
        return issued

    async def _hand_out(
        self,
        client: RegisteredClient,
        grant: Grant,
        grant_type: str,
        signing_key: SigningKey,
        snapshot: IssuerSnapshot,
        now: float,
    ) -> web.Response | ErrorAnswer:
        """Sign a token for what was granted; return the answer that carries it, or why there is none."""
        jti = self._context.revocations.mark_for(client.id, int(now)) + secrets.token_urlsafe(16)
        claims = build_claims(client, grant, snapshot.issuer, jti=jti, now=now)
        try:
            raw = await self._signer.sign(signing_key, claims)
        except SignerOverloadedError:
            return answer_problem(_BUSY)
        too_large = refuse_size(raw, snapshot.largest_token_bytes)
        if too_large is not None:
            return answer_problem(too_large)
        # Read back by the gate's own rules: what we would refuse is never handed out.
        token = read_access_token(claims, signing_key.kid)
        if not isinstance(token, AccessToken):
            raise TypeError(f"the claims of a new token are not readable: {token.claim}")
        if self._context.revocations.refuses(token):
            return answer_problem(_JUST_REVOKED)
        self._context.on_issued(raw, token)
        self._context.observer.token_issued(client.id, grant.audience, grant_type, grant.lifetime_s)
        return _json_response(token_reply(raw, grant))

    @contextmanager
    def _logged(self, request: web.BaseRequest, message: str) -> Iterator[IssuerRequest]:
        """Give an entry to fill for one request, and log it whatever becomes of that."""
        entry = IssuerRequest(
            self._context.clock(),
            message=message,
            result=ErrorCode.SERVER_ERROR.value,
            request_id=cut(request.headers.get("X-Request-Id")),
            peer=self._peer(request).address,
        )
        try:
            yield entry
        except (asyncio.CancelledError, ConnectionError):
            entry.cause = "caller_left"
            raise
        finally:
            self._context.on_request(entry)

    async def _introspect(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, entry: IssuerRequest
    ) -> web.Response | ErrorAnswer:
        asked = await self._read_token_request(request, snapshot, entry)
        if isinstance(asked, ErrorAnswer):
            return asked
        if not self._context.revocations.are_complete:
            return answer_problem(_NOT_COMPLETE)
        now = self._context.clock()
        body = introspect(asked.raw, asked.caller.client, snapshot, self._context.revocations, now=now)
        return _json_response(body)

    async def _revoke(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, entry: IssuerRequest
    ) -> web.Response | ErrorAnswer:
        asked = await self._read_token_request(request, snapshot, entry)
        if isinstance(asked, ErrorAnswer):
            return asked
        now = self._context.clock()
        client = asked.caller.client
        revocation = find_revocable(asked.raw, client, snapshot, now=now)
        if isinstance(revocation, OAuthProblem):
            return answer_problem(revocation)
        revocations = self._context.revocations
        if revocation is not None and not revocations.is_kept(revocation.name, revocation.expires_at):
            wait_s = revocations.wait_s(client.id, now)
            if wait_s:
                return answer_problem(_TOO_MANY_REVOKED, status=429, retry_after_s=math.ceil(wait_s))
            try:
                if revocation.other_issuer is not None:  # first: what is recorded here is not asked for again
                    await self._context.store.revoke_under(
                        revocation.other_issuer, revocation.name, revocation.expires_at
                    )
                await self._context.store.revoke(revocation.name, revocation.expires_at)
            except StateUnavailableError as error:
                _log.error("a revocation was refused: %s", error)
                return answer_problem(_NO_STATE)
            revocations.add(revocation.name, revocation.expires_at, now=now, by=client.id)
        return web.Response(status=200, headers=NO_STORE)

    # --- steps they share ----------------------------------------------------------

    async def _read_token_request(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, entry: IssuerRequest
    ) -> "_TokenRequest | ErrorAnswer":
        form = await _read_form(request)
        if isinstance(form, ErrorAnswer):
            return form
        proven = await self._authenticate(request, snapshot, form, entry)
        if isinstance(proven, ErrorAnswer):
            return proven
        limited = self._count_request(proven.client.id, snapshot)
        if limited is not None:
            return limited
        token = _strip(form.get("token") or "")
        if not token:
            return answer_problem(missing("token", "send the token that the request is about"))
        return _TokenRequest(proven, token.encode())

    async def _authenticate(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, form: Form, entry: IssuerRequest
    ) -> ProvenClient | ErrorAnswer:
        entry.unverified_client = cut(form.get("client_id"))
        proof = _read_proof(request, form)
        if isinstance(proof, AuthFailure):
            return self._refuse_client(proof, entry)
        if isinstance(proof, Assertion):
            entry.auth_method = method_of(proof)
            _note_assertion(entry, proof)
        else:
            entry.auth_method = proof.method
        entry.unverified_client = cut(claimed_client(proof))
        try:
            proven = await self._logins.prove(proof, snapshot, self._caller(request))
        except OverloadedError:
            return answer_problem(_BUSY)
        if isinstance(proven, SlowedDown):
            self._context.observer.auth_failure(entry.auth_method, SLOWED_DOWN)
            entry.cause = SLOWED_DOWN
            return answer_problem(_TOO_MANY_FAILURES, status=429, retry_after_s=proven.retry_after_s)
        if isinstance(proven, AuthFailure):
            return self._refuse_client(proven, entry)
        if isinstance(proof, Assertion) and not _is_for(proof, snapshot.issuer.url):
            self._context.observer.legacy_audience(proven.client.id)
        entry.auth_method = proven.method
        _note_proven(entry, proven)
        return proven

    async def _prove_by_grant(
        self, request: web.BaseRequest, snapshot: IssuerSnapshot, form: Form, entry: IssuerRequest
    ) -> ProvenClient | ErrorAnswer:
        """Return the client that the form's `assertion` may act as.

        RFC 7521 4.1: authenticating as a client is optional here; one that is tried must
        succeed, and only that client's identities count then.
        """
        raw = form.get("assertion")
        if raw is None:
            return answer_problem(missing("assertion", "send one signed JWT"))
        client_id = form.get("client_id")
        if hdrs.AUTHORIZATION in request.headers or not _CREDENTIALS.isdisjoint(form.values):
            authenticated = await self._authenticate(request, snapshot, form, entry)
            if isinstance(authenticated, ErrorAnswer):
                return authenticated
            client_id = authenticated.client.id
        if not entry.client:
            entry.unverified_client = cut(client_id)
        assertion = read_grant_assertion(raw.encode())
        if isinstance(assertion, AuthFailure):
            return self._refuse_client(assertion, entry)
        _note_assertion(entry, assertion)
        proven = await prove_identity(assertion, client_id, snapshot, self._context, self._caller(request))
        if isinstance(proven, AuthFailure):
            return self._refuse_client(proven, entry)
        _note_proven(entry, proven)
        return proven

    def _count_request(self, client_id: str, snapshot: IssuerSnapshot) -> ErrorAnswer | None:
        """Count a request of a proven client; return the answer when it is one too many."""
        wait_s = self._rate_limit.wait_s(client_id, snapshot.issuer.rate_limit, self._context.stopwatch())
        if not wait_s:
            return None
        return answer_problem(_TOO_MANY_REQUESTS, status=429, retry_after_s=math.ceil(wait_s))

    def _caller(self, request: web.BaseRequest) -> Caller:
        return Caller(self._peer(request).address, self._context.clock())

    def _peer(self, request: web.BaseRequest) -> PeerInfo:
        """Return who sends `request`; that is found out once."""
        known = request.get(_PEER)
        if known is None:
            known = request[_PEER] = self._context.peer_of(request)
        return known

    def _refuse_client(self, failure: AuthFailure, entry: IssuerRequest) -> ErrorAnswer:
        if failure.method != GRANT_METHOD:
            entry.auth_method = failure.method
        entry.cause = failure.reason.value
        if failure.client_id != entry.client:
            entry.unverified_client = failure.client_id or entry.unverified_client
        self._context.observer.auth_failure(failure.method, failure.reason.value)
        if failure.retry_after_s is not None:
            return answer_problem(failure.problem, status=429, retry_after_s=failure.retry_after_s)
        return answer_problem(failure.problem)


def _noted(entry: IssuerRequest, answer: web.Response | ErrorAnswer) -> web.Response | ErrorAnswer:
    """Return `answer`, after the entry was told of it."""
    if isinstance(answer, ErrorAnswer):
        entry.result, entry.detail = answer.code.value, answer.description
        entry.cause = entry.cause or answer.cause
    else:
        entry.result = RESULT_OK
    return answer


def _note_assertion(entry: IssuerRequest, assertion: Assertion) -> None:
    entry.unverified_iss, entry.unverified_sub = cut(assertion.issuer), cut(assertion.subject)
    entry.unverified_kid = cut(assertion.kid)


def _note_proven(entry: IssuerRequest, proven: ProvenClient) -> None:
    """Put the name of a proven client in the place of what was only said."""
    entry.client = proven.client.id
    entry.unverified_client = entry.unverified_iss = entry.unverified_sub = entry.unverified_kid = ""


@dataclass(frozen=True, slots=True)
class _TokenRequest:
    """A proven caller and the token it asks about."""

    caller: ProvenClient
    raw: bytes = field(repr=False)


def _strip(token: str) -> str:
    """Return a token without what a file, a form or a field put around or into it.

    A revocation is answered 200 also where there is nothing to do. So neither a line break, nor the
    quotation marks of JSON, nor the scheme of an `Authorization` value may make it nothing: no token
    of ours holds any of them.
    """
    words = token.strip(_AROUND_TOKENS).split()
    if len(words) > 1 and words[0].lower() in _TOKEN_SCHEMES:
        del words[0]
    return "".join(words).strip(_AROUND_TOKENS)


def _read_proof(request: web.BaseRequest, form: Form) -> PresentedSecret | Assertion | AuthFailure:
    """Return the one secret or assertion by which the caller says who it is; nothing is compared yet."""
    presented = read_credentials(request.headers.getall(hdrs.AUTHORIZATION, ()), form.values)
    return read_client_assertion(presented) if isinstance(presented, PresentedAssertion) else presented


def _is_for(assertion: Assertion, audience: str) -> bool:
    return assertion.jwt.payload.get("aud") in (audience, [audience])


def _check_grant_type(form: Form, entry: IssuerRequest) -> str | OAuthProblem:
    grant_type = form.get("grant_type")
    if grant_type is None:
        return missing("grant_type", f"this issuer supports {', '.join(grant_types())}")
    if grant_type not in grant_types():
        entry.asked_grant = cut(grant_type)
        return OAuthProblem(
            ErrorCode.UNSUPPORTED_GRANT_TYPE,
            f"grant_type: is not supported; this issuer supports {', '.join(grant_types())}",
        )
    entry.grant = grant_type
    return grant_type


async def _read_form(request: web.BaseRequest) -> Form | ErrorAnswer:
    """Return the request's form, or the answer to the first thing wrong with method, head or body."""
    if request.method != hdrs.METH_POST:
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "the method must be POST")
        return answer_problem(problem, status=405, allow="POST")
    if not is_utf8_media_type(request.headers.getall(hdrs.CONTENT_TYPE, ()), _FORM_TYPE):
        problem = OAuthProblem(
            ErrorCode.INVALID_REQUEST,
            f"Content-Type: must be {_FORM_TYPE}, once; it takes no parameter but charset=utf-8",
        )
        return answer_problem(problem, status=415)
    if _is_encoded(request.headers.getall(hdrs.CONTENT_ENCODING, ())):
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "Content-Encoding: the form must not be encoded")
        return answer_problem(problem, status=415)
    in_query = check_query(request.rel_url.raw_query_string)
    if in_query is not None:
        return answer_problem(in_query)
    body = await _read_body(request)
    if isinstance(body, ErrorAnswer):
        return body
    form = parse_form(body)
    return answer_problem(form) if isinstance(form, OAuthProblem) else form


def _is_encoded(fields: Sequence[str]) -> bool:
    """Return whether Content-Encoding names more than `identity`, or too much to look at."""
    codings = ",".join(fields).lower()
    if len(codings) > _LONGEST_LIST:
        return True
    return any(coding.strip(" \t") not in ("", "identity") for coding in codings.split(","))


async def _read_body(request: web.BaseRequest) -> bytes | ErrorAnswer:
    too_large = OAuthProblem(ErrorCode.INVALID_REQUEST, f"the body is larger than {MAX_BODY_BYTES} bytes")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return answer_problem(too_large, status=413)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return answer_problem(too_large, status=413)
    except (web.RequestPayloadError, ClientPayloadError):
        return answer_problem(OAuthProblem(ErrorCode.INVALID_REQUEST, "the body is not complete"))


# --- answers -------------------------------------------------------------------------


def _document(
    request: web.BaseRequest, document: Document, headers: Mapping[str, str]
) -> web.Response | ErrorAnswer:
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "the method must be GET or HEAD")
        return answer_problem(problem, status=405, allow="GET, HEAD")
    headers = {
        hdrs.ETAG: document.etag,
        hdrs.CACHE_CONTROL: f"public, max-age={DOCUMENT_MAX_AGE_S}",
        **headers,
    }
    if _is_known(request, document.etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.body, content_type="application/json", headers=headers)


def _is_known(request: web.BaseRequest, etag: str) -> bool:
    """Return whether `If-None-Match` names `etag` (RFC 9110 13.1.2: weak comparison)."""
    known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    if len(known) > _LONGEST_LIST:
        return False  # to send the document again is always right
    return any(item.strip(" \t").removeprefix("W/") in (etag, "*") for item in known.split(","))


def _json_response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=NO_STORE)


def _error_response(answer: ErrorAnswer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        content_type="application/json",
        headers={**NO_STORE, **answer.headers, REASON_FIELD: answer.code.value},
    )


def _finish_headers(response: web.StreamResponse) -> None:
    response.headers.popall(hdrs.SERVER, None)
    if isinstance(response, web.Response) and not response.body:
        response.headers.popall(hdrs.CONTENT_TYPE, None)


def _meet_expectation(request: web.BaseRequest) -> ErrorAnswer | None:
    """Answer `Expect`: go on for 100-continue, our own 417 for anything else (RFC 9110 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "Expect: only 100-continue is known")
        return answer_problem(problem, status=417)
    transport = request.transport
    if transport is not None:
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None


def _log_internal_error(error: Exception) -> None:
    # The exception's own text could hold what a caller sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("internal error: %s\n%s", type(error).__name__, frames)
