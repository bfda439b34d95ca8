"""Send heads that the HTTP library refuses or would act upon by itself: every answer is ours."""

import asyncio
import gzip
import json
from urllib.parse import urlsplit

import pytest

from tests.issuer.conftest import BASIC, ServedIssuer

FORM = b"grant_type=client_credentials"
TYPE = b"Content-Type: application/x-www-form-urlencoded\r\n"


async def send(issuer: ServedIssuer, fields: bytes, body: bytes = FORM) -> tuple[int, bytes, bytes]:
    """Return status, head and body of the answer to a POST with exactly these fields."""
    address = urlsplit(issuer.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields)
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head[9:12]), head, answer


ODD = {
    "two types": (TYPE + b"Content-Type: text/plain\r\n", FORM, 400),
    "said to be compressed": (TYPE + b"Content-Encoding: gzip\r\n", FORM, 415),
    "a bomb": (TYPE + b"Content-Encoding: gzip\r\n", gzip.compress(bytes(10**7)), 415),
    "two codings, one field": (TYPE + b"Content-Encoding: gzip, identity\r\n", gzip.compress(FORM), 415),
    "two codings, two fields": (
        TYPE + b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n",
        gzip.compress(FORM),
        415,
    ),
    "another coding": (TYPE + b"Content-Encoding: br\r\n", FORM, 415),
    "a large field": (TYPE + b"Authorization: Basic " + b"A" * 60_000 + b"\r\n", FORM, 401),
    "many fields": (TYPE + b"".join(b"X-%d: y\r\n" % number for number in range(1000)), FORM, 401),
}


@pytest.mark.parametrize(("fields", "body", "status"), ODD.values(), ids=ODD)
async def test_answers_are_json_and_repeat_nothing(
    issuer: ServedIssuer, caplog: pytest.LogCaptureFixture, fields: bytes, body: bytes, status: int
) -> None:
    found, head, answer = await send(issuer, fields, body)
    assert found == status
    assert b"\r\nContent-Type: application/json" in head
    assert b"\r\nCache-Control: no-store" in head
    document = json.loads(answer)
    assert (document["status"], document["messages"]) == (status, [document["error_description"]])
    assert "AAAA" not in answer.decode() + caplog.text
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


@pytest.mark.parametrize("coding", [b"", b"identity", b"Identity"], ids=["empty", "lower", "mixed"])
async def test_a_form_that_says_it_is_not_encoded_is_read(issuer: ServedIssuer, coding: bytes) -> None:
    fields = TYPE + b"Content-Encoding: " + coding + b"\r\nAuthorization: " + BASIC.encode() + b"\r\n"
    status, _, answer = await send(issuer, fields, FORM + b"&audience=country-service")
    assert status == 200, answer
