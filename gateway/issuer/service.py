"""Serve the issuer: one table of endpoints, each a function from a request to an answer.

Which path is which endpoint comes from the current snapshot, so a reload can move endpoints. Here is
what all of them have in common: what a head settles, the log entry, metrics, and the answer when
something of ours goes wrong. What they decide is elsewhere and mostly pure; connections and the
order of answers are the gate's.

Order of checks (the first failure is the answer): fields that come twice, path, method, content
type, query, size, form, `grant_type`, client authentication, then the grant's own.

Sources: RFC 6749 3.2 and 5; RFC 7009 2; RFC 7662 2; RFC 8414 3; Fetch 3.3 (CORS protocol).
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from multidict import CIMultiDictProxy, istr

from gateway.clients.authenticate import NO_METHOD
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.enforce.location import ISSUER
from gateway.issuer.asked import Asked, Parts
from gateway.issuer.context import IssuerContext
from gateway.issuer.cors import answer_fields, preflight_fields
from gateway.issuer.documents import answer_document
from gateway.issuer.endpoints import Endpoint
from gateway.issuer.errors import ErrorAnswer, answer_problem
from gateway.issuer.form_requests import read_form, refuse_head
from gateway.issuer.forms import MAX_BODY_BYTES
from gateway.issuer.logins import Logins
from gateway.issuer.snapshot import Document, IssuerSnapshot
from gateway.issuer.token import issue
from gateway.issuer.token_questions import answer_introspection, answer_revocation
from gateway.observe.issuer_request import IssuerRequest, cut
from gateway.services import Answer, Request, Respond

RESULT_OK = "ok"
_NONE = "_none_"
_ORIGIN = istr("Origin")
_ONCE = tuple(
    istr(name)
    for name in ("Content-Type", "User-Agent", "Content-Location", "Content-Range", "Etag", "Server")
)
"""Fields of which two readers may take two values."""
_UNREADABLE = OAuthProblem(
    ErrorCode.INVALID_REQUEST, "the request cannot be read; look for a field that comes twice"
)
_NO_ENDPOINT = OAuthProblem(ErrorCode.NOT_FOUND, "no such endpoint")
_INTERNAL = OAuthProblem(ErrorCode.SERVER_ERROR, "internal error")

_log = logging.getLogger("gateway.issuer")


@dataclass(frozen=True, slots=True)
class _PublishedDocument:
    """An endpoint at which a document lies: GET and HEAD, conditional by its entity tag."""

    choose: Callable[[IssuerSnapshot], Document]
    fields: tuple[tuple[str, str], ...] = ()
    """That go with it, besides those of every document."""


@dataclass(frozen=True, slots=True)
class _FormEndpoint:
    """An endpoint that takes a form by POST."""

    message: str
    """Of its line in the log."""
    respond: Callable[[Asked], Awaitable[Answer | ErrorAnswer]]
    issues: bool = False
    """It issues tokens: it has metrics of its own, and pages may ask it."""


_TABLE: Mapping[Endpoint, _PublishedDocument | _FormEndpoint] = MappingProxyType(
    {
        Endpoint.TOKEN: _FormEndpoint("token request", issue, issues=True),
        Endpoint.INTROSPECTION: _FormEndpoint("introspection request", answer_introspection),
        Endpoint.REVOCATION: _FormEndpoint("revocation request", answer_revocation),
        Endpoint.JWKS: _PublishedDocument(
            lambda snapshot: snapshot.jwks, (("Access-Control-Allow-Origin", "*"),)
        ),
        Endpoint.SERVER_METADATA: _PublishedDocument(lambda snapshot: snapshot.server_metadata),
        Endpoint.OPENID_METADATA: _PublishedDocument(lambda snapshot: snapshot.openid_metadata),
    }
)


class Issuer:
    """The issuer's service (`gateway.services.Service`). It opens and closes nothing of its context."""

    __slots__ = ("_context", "_parts")

    name = ISSUER
    longest_body = MAX_BODY_BYTES

    def __init__(self, context: IssuerContext) -> None:
        self._context = context
        self._parts = Parts(context, Logins(context))

    def close(self) -> None:
        """End the signer."""
        self._parts.signer.close()

    def place(self, request: Request) -> Answer | Respond:
        """Return the answer that the head settles, or what answers once the body is there. Never raises."""
        try:
            return self._place(request)
        except Exception as error:
            _log_internal_error(error)
            return answer_problem(_INTERNAL).as_answer()

    def _place(self, request: Request) -> Answer | Respond:
        if _comes_twice(request.fields):
            return answer_problem(_UNREADABLE).as_answer()
        snapshot = self._context.snapshot()
        endpoint = snapshot.endpoints.get(request.path)
        if endpoint is None:
            return answer_problem(_NO_ENDPOINT).as_answer()
        row = _TABLE[endpoint]
        if isinstance(row, _PublishedDocument):
            return answer_document(request, row.choose(snapshot), row.fields)
        if row.issues and request.method == "OPTIONS":
            allowed = preflight_fields(snapshot.issuer.cors_origins, request.fields.getall(_ORIGIN, ()))
            if allowed is not None:
                return Answer(204, allowed)
        refused = refuse_head(request)
        if refused is None:
            return partial(self._respond, row, snapshot)
        started, entry = time.perf_counter(), self._new_entry(row, request)
        _note(entry, refused)
        self._tell(row, entry, started)
        return _for_pages(row, snapshot, request, refused.as_answer())

    async def _respond(self, row: _FormEndpoint, snapshot: IssuerSnapshot, request: Request) -> Answer:
        """Answer a request with a form, whose head is in order."""
        started, entry = time.perf_counter(), self._new_entry(row, request)
        try:
            answer = await self._answer_form(row, snapshot, request, entry)
        except asyncio.CancelledError:
            entry.cause = "process_ended"
            raise
        except Exception as error:
            _log_internal_error(error)
            answer = answer_problem(_INTERNAL).as_answer()
        finally:
            self._tell(row, entry, started)
        return _for_pages(row, snapshot, request, answer)

    async def _answer_form(
        self, row: _FormEndpoint, snapshot: IssuerSnapshot, request: Request, entry: IssuerRequest
    ) -> Answer:
        form = read_form(request)
        if isinstance(form, ErrorAnswer):
            _note(entry, form)
            return form.as_answer()
        answer = await row.respond(Asked(self._parts, request, form, snapshot, entry))
        if isinstance(answer, ErrorAnswer):
            _note(entry, answer)
            return answer.as_answer()
        entry.result = RESULT_OK
        return answer

    def _new_entry(self, row: _FormEndpoint, request: Request) -> IssuerRequest:
        return IssuerRequest(
            self._context.clock(),
            message=row.message,
            result=ErrorCode.SERVER_ERROR.value,
            request_id=cut(request.request_id),
            peer=request.caller.address,
        )

    def _tell(self, row: _FormEndpoint, entry: IssuerRequest, started: float) -> None:
        """Tell the metrics and the log of a request that has ended."""
        if row.issues:
            self._context.observer.token_request(
                "_OTHER" if entry.asked_grant else entry.grant or _NONE,
                entry.auth_method or NO_METHOD,
                entry.client or _NONE,
                entry.result,
                time.perf_counter() - started,
            )
        self._context.on_request(entry)


def _comes_twice(fields: CIMultiDictProxy[str]) -> bool:
    """Return whether a field comes twice that may come once."""
    if len(fields) == len(set(map(str.lower, fields))):
        return False  # as always: none does
    return any(len(fields.getall(name, ())) > 1 for name in _ONCE)


def _for_pages(row: _FormEndpoint, snapshot: IssuerSnapshot, request: Request, answer: Answer) -> Answer:
    """Return the answer of the token endpoint with what tells browsers which pages may read it."""
    origins = snapshot.issuer.cors_origins
    if not row.issues or not origins:
        return answer
    added = answer_fields(origins, request.fields.getall(_ORIGIN, ()))
    return replace(answer, fields=(*answer.fields, *added))


def _note(entry: IssuerRequest, answer: ErrorAnswer) -> None:
    """Note for the log what the caller is told."""
    entry.result, entry.detail = answer.code.value, answer.description
    entry.cause = entry.cause or answer.cause


def _log_internal_error(error: Exception) -> None:
    # The exception's own text could hold what a caller sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("internal error: %s\n%s", type(error).__name__, frames)
