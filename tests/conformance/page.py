"""Write the rows as a page: `.venv/bin/python -m tests.conformance.page docs/conformance.md`.

Without a file it is printed.
"""

import base64
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conformance import rfc6749, rfc6750, rfc7009, rfc7523, rfc7662, rfc8414, rfc8707, rfc9068
from tests.conformance.rows import Ask, Row

PARTS: Sequence[tuple[str, Sequence[Row]]] = (
    ("RFC 6749: the token endpoint", rfc6749.ROWS),
    ("RFC 6750: bearer tokens at the gate", rfc6750.ROWS),
    ("RFC 7009: revocation", rfc7009.ROWS),
    ("RFC 7521 and 7523: assertions", rfc7523.ROWS),
    ("RFC 7662: introspection", rfc7662.ROWS),
    ("RFC 8414: metadata", rfc8414.ROWS),
    ("RFC 8707: resources", rfc8707.ROWS),
    ("RFC 9068: JWT access tokens", rfc9068.ROWS),
)
ROWS: Sequence[Row] = [row for _, rows in PARTS for row in rows]

BEGINNING = """\
# Conformance

Every rule of these RFCs that binds Sidegate, as `make test` holds the running process to it: what is sent,
what must come back. A refusal stands beside a twin that differs in the one thing and is accepted; where there
are two requests in a row, the second is the twin's difference. `{words}` stand for what the process has
issued or what is signed for the row (`tests/conformance/world.py`, `assertions.py`). Attacks on signed tokens
have a table of their own: `tests/conformance/attacks.py`.

Not shown by one request, and tested beside the table: guessing is slowed down (RFC 6749 2.3.1), a refused
revocation leaves the token alive (RFC 7009 2.1), the well-known part stands before the issuer's path
(RFC 8414 3.1), the other algorithms (RFC 9068 2.1). Up to whoever deploys: TLS (RFC 6749 3.2), an `https`
issuer (RFC 8414 2).

This page is written from the tests: `.venv/bin/python -m tests.conformance.page docs/conformance.md`.
"""


def page() -> str:
    """Return the page."""
    return "\n".join((BEGINNING, *(line for title, rows in PARTS for line in _part(title, rows))))


def _part(title: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| section | rule | sent | answer | accepted |"
    yield "|---|---|---|---|---|"
    for row in rows:
        mine, other = _pieces(row.ask), _pieces(row.twin) if row.twin else []
        sent = [mine[0], *(Counter(mine[1:]) - Counter(other)).elements()]
        accepted = list((Counter(other) - Counter(mine)).elements()) or ["without that"]
        answer = f"{row.status}" + (f" `{row.error}`" if row.error else "")
        answer += "".join(f", `{name}`" for name in row.fields if row.fields[name] and name in _TOLD)
        cells = (row.rfc, row.rule, _spans(sent), answer, _spans(accepted) if row.twin else "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


_TOLD = ("Allow", "WWW-Authenticate")


def _pieces(ask: Ask) -> list[str]:
    """Return the request in pieces for people: first the request line, then whatever it carries."""
    fields = [f"{name}: {_readable(value)}" for name, value in ask.fields]
    form = [f"{name}={value}" for name, value in ask.form or ()]
    return [f"{ask.method} {ask.path}", *fields, *form, *([ask.body] if ask.body else [])]


def _readable(value: str) -> str:
    try:
        return "Basic " + base64.b64decode(re.fullmatch(r"Basic (\S+)", value)[1], validate=True).decode()  # type: ignore[index]
    except (TypeError, ValueError):
        return value


def _spans(pieces: Sequence[str]) -> str:
    return "<br>".join(piece if piece == "without that" else f"`{piece}`" for piece in pieces)


def main(arguments: Sequence[str]) -> None:
    """Write the page to the named file, or print it. It is whole before the file is touched."""
    text = page()
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
