"""Lead through the life of one token: refused, issued, accepted, revoked, refused.

The journey is one table of steps. `print_journey` writes it as curl commands that
work when pasted one by one into a POSIX shell, without jq; `walk_journey` sends the
same requests itself and compares each answer with what the step promises.
"""

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO, assert_never
from urllib.parse import quote_plus

import aiohttp

from gateway.oauth_names import CLIENT_CREDENTIALS

TOKEN = "$TOKEN"  # noqa: S105 - a shell variable's name, filled in by the second step
COUNTRY_PATH = "/ms-system/country/code/AUS"


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Send no `Authorization`."""


@dataclass(frozen=True, slots=True)
class Basic:
    """Authenticate as the demo's client (RFC 6749 2.3.1)."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Send the token of the second step (RFC 6750 2.1)."""


Credentials = Anonymous | Basic | Bearer


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must show."""

    status: int
    challenge: str | None = None
    """Text that the `WWW-Authenticate` field must hold; None = the field must be absent."""
    members: Mapping[str, object] | None = None
    """JSON members the body must have; None = any body."""
    only: bool = False
    """True: `members` are all the body may have; with none, the body is empty."""

    def __str__(self) -> str:
        parts = [str(self.status)]
        if self.challenge is not None:
            parts.append(f"WWW-Authenticate: {self.challenge}")
        if self.members:
            parts.append(json.dumps(self.members))
        elif self.only:
            parts.append("empty body")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Step:
    """One request and what it must show."""

    title: str
    path: str
    credentials: Credentials
    expected: Expected
    form: Mapping[str, str] | None = None
    """None = GET, else POST with these fields."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it was seen."""

    status: int
    challenge: str | None
    body: bytes


STEPS: tuple[Step, ...] = (
    Step(
        "Call the country service without a token: the gate refuses",
        COUNTRY_PATH,
        Anonymous(),
        Expected(401, challenge="Bearer"),
    ),
    Step(
        "Ask the issuer for a token",
        "/oauth2/token",
        Basic(),
        Expected(200, members={"token_type": "Bearer", "scope": "country.read"}),
        form={"grant_type": CLIENT_CREDENTIALS, "scope": "country.read"},
    ),
    Step(
        "Call again with the token: the country service answers",
        COUNTRY_PATH,
        Bearer(),
        Expected(200, members={"code": "AUS", "name": "AUSTRALIA"}, only=True),
    ),
    Step(
        "Introspect the token: it is active",
        "/oauth2/introspect",
        Basic(),
        Expected(200, members={"active": True, "client_id": "demo-client", "scope": "country.read"}),
        form={"token": TOKEN},
    ),
    Step(
        "Revoke it: the answer is empty",
        "/oauth2/revoke",
        Basic(),
        Expected(200, only=True),
        form={"token": TOKEN},
    ),
    Step(
        "Call once more: the gate refuses the revoked token at once",
        COUNTRY_PATH,
        Bearer(),
        Expected(401, challenge='error="invalid_token"'),
    ),
    Step(
        "Introspect it: it is not active, and nothing else is said",
        "/oauth2/introspect",
        Basic(),
        Expected(200, members={"active": False}, only=True),
        form={"token": TOKEN},
    ),
)


def print_journey(out: TextIO, port: int, client_id: str, client_secret: str) -> None:
    """Write the journey as shell commands, each below a comment that tells what to expect."""
    base_url = f"http://127.0.0.1:{port}"
    out.write("Paste these one by one into another terminal:\n")
    for number, step in enumerate(STEPS, 1):
        out.write(f"\n# {number}. {step.title} ({step.expected.status})\n")
        out.write(f"{curl_command(step, base_url, client_id, client_secret)}\n")
    out.flush()


def curl_command(step: Step, base_url: str, client_id: str, client_secret: str) -> str:
    """Return the step as one line of POSIX shell."""
    words = ["curl", "-s"]
    match step.credentials:
        case Anonymous():
            pass
        case Basic():
            words += ["-u", shlex.quote(f"{quote_plus(client_id)}:{quote_plus(client_secret)}")]
        case Bearer():
            words += ["-H", f'"Authorization: Bearer {TOKEN}"']
        case _:
            assert_never(step.credentials)
    for name, value in (step.form or {}).items():
        words += ["-d", f'"{name}={value}"' if value == TOKEN else shlex.quote(f"{name}={value}")]
    words.append(base_url + step.path)
    if not _yields_token(step):
        words[1] = "-si"
        return " ".join(words) + "; echo"
    pick = """sed -n 's/.*"access_token" *: *"\\([^"]*\\)".*/\\1/p'"""
    return f'TOKEN=$({" ".join(words)} | {pick}); echo "{TOKEN}"'


async def walk_journey(port: int, client_id: str, client_secret: str, out: TextIO) -> bool:
    """Send every step to 127.0.0.1, write what was expected and seen; True when all of it agrees.

    Stops at the first step that fails, as the later ones build on it.
    """
    basic = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()).decode("ascii")
    token = ""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
        for number, step in enumerate(STEPS, 1):
            out.write(f"{number}. {step.title}\n   expected  {step.expected}\n")
            try:
                answer = await _send(session, step, basic, token)
            except (TimeoutError, aiohttp.ClientError) as error:
                out.write(f"   seen      no answer: {error!r}  FAILED\n")
                return False
            agrees = fulfils(answer, step.expected)
            if _yields_token(step):
                token = _find_token(answer.body)
                agrees = agrees and token != ""
            out.write(f"   seen      {_describe(answer)}  {'ok' if agrees else 'FAILED'}\n")
            if not agrees:
                return False
    return True


async def _send(session: aiohttp.ClientSession, step: Step, basic: str, token: str) -> Answer:
    headers = {}
    match step.credentials:
        case Anonymous():
            pass
        case Basic():
            headers["Authorization"] = f"Basic {basic}"
        case Bearer():
            headers["Authorization"] = f"Bearer {token}"
        case _:
            assert_never(step.credentials)
    form = None
    if step.form is not None:
        form = {name: token if value == TOKEN else value for name, value in step.form.items()}
    method = "GET" if form is None else "POST"
    async with session.request(method, step.path, headers=headers, data=form) as response:
        return Answer(response.status, response.headers.get("WWW-Authenticate"), await response.read())


def fulfils(answer: Answer, expected: Expected) -> bool:
    """Say whether an answer shows everything that was expected of it."""
    if answer.status != expected.status:
        return False
    if expected.challenge is None:
        if answer.challenge is not None:
            return False
    elif answer.challenge is None or expected.challenge not in answer.challenge:
        return False
    if expected.members is None:
        return not expected.only or answer.body == b""
    document = _parse_object(answer.body)
    if document is None:
        return False
    if expected.only:
        return document == expected.members
    return all(name in document and document[name] == value for name, value in expected.members.items())


def _yields_token(step: Step) -> bool:
    return step.form is not None and "grant_type" in step.form


def _find_token(body: bytes) -> str:
    """Return the access token of a token reply, or an empty text."""
    token = (_parse_object(body) or {}).get("access_token")
    return token if isinstance(token, str) else ""


def _parse_object(body: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _describe(answer: Answer) -> str:
    parts = [str(answer.status)]
    if answer.challenge is not None:
        parts.append(f"WWW-Authenticate: {answer.challenge}")
    document = _parse_object(answer.body)
    if document is None:
        parts.append(answer.body.decode("utf-8", "replace")[:200] or "empty body")
    else:
        if isinstance(token := document.get("access_token"), str):
            document["access_token"] = f"{token[:8]}… ({len(token)} characters)"
        parts.append(json.dumps(document, ensure_ascii=False))
    return ", ".join(parts)
