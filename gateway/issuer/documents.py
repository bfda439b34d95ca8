"""Answer requests for a published document. Pure.

The head alone settles these: what a caller sends behind it is not looked at.

Sources: RFC 8414 3; RFC 9110 13.1.2 (If-None-Match), 15.4.5 (304), 15.5.6 (405).
"""

from multidict import istr

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.issuer.errors import JSON_TYPE, answer_problem
from gateway.issuer.form_requests import LONGEST_LIST
from gateway.issuer.snapshot import Document
from gateway.services import Answer, Request

DOCUMENT_MAX_AGE_S = 300

_IF_NONE_MATCH = istr("If-None-Match")


def answer_document(request: Request, document: Document, fields: tuple[tuple[str, str], ...]) -> Answer:
    """Return the answer to a request for `document`, with `fields` of its own."""
    if request.method not in ("GET", "HEAD"):
        problem = OAuthProblem(ErrorCode.INVALID_REQUEST, "the method must be GET or HEAD")
        return answer_problem(problem, status=405, allow="GET, HEAD").as_answer()
    fields = (
        ("Etag", document.etag),
        ("Cache-Control", f"public, max-age={DOCUMENT_MAX_AGE_S}"),
        *fields,
    )
    if _is_known(request, document.etag):
        return Answer(304, fields)
    return Answer(200, (*fields, JSON_TYPE), document.body)


def _is_known(request: Request, etag: str) -> bool:
    """Return whether `If-None-Match` names `etag` (RFC 9110 13.1.2: weak comparison)."""
    known = ",".join(request.fields.getall(_IF_NONE_MATCH, ()))
    if len(known) > LONGEST_LIST:
        return False  # to send the document again is always right
    return any(item.strip(" \t").removeprefix("W/") in (etag, "*") for item in known.split(","))
