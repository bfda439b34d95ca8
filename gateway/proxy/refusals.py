"""Write a refusal as the bytes of one HTTP answer.

Pure. Every answer that the gate makes itself is `application/problem+json`, names
one reason in `Sidegate-Reason`, and never quotes what the caller sent.

Sources: RFC 9457; RFC 9110 6.6.1 (Date), 15.
"""

import msgspec

from gateway.enforce.challenge import Refusal
from gateway.http1.grammar import STATUS_PHRASES


def refusal_bytes(
    refusal: Refusal, *, request_id: bytes, date_line: bytes, closes: bool, with_body: bool, version_0: bool
) -> tuple[bytes, int]:
    """Return the whole answer, and how many bytes of it are its body.

    Args:
        refusal: What to say.
        request_id: Of this exchange, acceptable as a field value.
        date_line: The Date field with CRLF.
        closes: The connection ends after this answer.
        with_body: False for HEAD: the fields stay, the body does not (RFC 9110 9.3.2).
        version_0: The request was HTTP/1.0 and wants the connection kept.
    """
    word = refusal.reason.value
    phrase = STATUS_PHRASES.get(refusal.status, b"Refused")
    problem: dict[str, object] = {
        "type": f"urn:sidegate:reason:{word}",
        "title": refusal.reason.summary,
        "status": refusal.status,
        "detail": refusal.detail,
        "reason": word,
        "request_id": request_id.decode("ascii"),
    }
    problem.update(refusal.members)
    body = msgspec.json.encode(problem)
    connection = b""
    sent = body if with_body else b""
    if closes:
        connection = b"Connection: close\r\n"
    elif version_0:
        connection = b"Connection: keep-alive\r\n"
    answer = b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (refusal.status, phrase),
            date_line,
            b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body),
            b"Cache-Control: no-store\r\n",
            b"Sidegate-Reason: %b\r\nX-Request-Id: %b\r\n" % (word.encode("ascii"), request_id),
            *(b"%b: %b\r\n" % field for field in refusal.fields),
            connection,
            b"\r\n",
            sent,
        )
    )
    return answer, len(sent)
