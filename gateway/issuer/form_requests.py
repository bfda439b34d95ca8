"""Judge a request that has to bring a form, and read the form. Pure.

What the head settles is refused before the body is there. Order: method, content type, coding,
query, size; then the form itself.

Sources: RFC 6749 3.2; RFC 9110 8.4, 15.5.6 (405), 15.5.14 (413), 15.5.16 (415).
"""

from collections.abc import Sequence

from multidict import istr

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.http1.media_type import is_utf8_media_type
from gateway.issuer.errors import ErrorAnswer, answer_problem
from gateway.issuer.forms import MAX_BODY_BYTES, Form, check_query, parse_form
from gateway.services import Request

LONGEST_LIST = 1024
"""Octets of a list in a field that are looked at: there is no need for more, and each costs time."""

_FORM_TYPE = "application/x-www-form-urlencoded"
_CONTENT_TYPE, _CONTENT_ENCODING = istr("Content-Type"), istr("Content-Encoding")


def refuse_head(request: Request) -> ErrorAnswer | None:
    """Return the answer to the first thing that is wrong with method, fields or query."""
    if request.method != "POST":
        return answer_problem(_invalid("the method must be POST"), status=405, allow="POST")
    if not is_utf8_media_type(request.fields.getall(_CONTENT_TYPE, ()), _FORM_TYPE):
        problem = _invalid(
            f"Content-Type: must be {_FORM_TYPE}, once; it takes no parameter but charset=utf-8"
        )
        return answer_problem(problem, status=415)
    if _CONTENT_ENCODING in request.fields and _is_encoded(request.fields.getall(_CONTENT_ENCODING)):
        return answer_problem(_invalid("Content-Encoding: the form must not be encoded"), status=415)
    in_query = check_query(request.query) if request.query else None
    if in_query is not None:
        return answer_problem(in_query)
    return _too_large() if (request.content_length or 0) > MAX_BODY_BYTES else None


def read_form(request: Request) -> Form | ErrorAnswer:
    """Return the form of a request whose head is in order, or the answer to what is wrong with it."""
    if len(request.body) > MAX_BODY_BYTES:
        return _too_large()
    form = parse_form(request.body)
    return answer_problem(form) if isinstance(form, OAuthProblem) else form


def _is_encoded(fields: Sequence[str]) -> bool:
    """Return whether Content-Encoding names more than `identity`, or too much to look at."""
    codings = ",".join(fields).lower()
    if len(codings) > LONGEST_LIST:
        return True
    return any(coding.strip(" \t") not in ("", "identity") for coding in codings.split(","))


def _too_large() -> ErrorAnswer:
    return answer_problem(_invalid(f"the body is larger than {MAX_BODY_BYTES} bytes"), status=413)


def _invalid(description: str) -> OAuthProblem:
    return OAuthProblem(ErrorCode.INVALID_REQUEST, description)
