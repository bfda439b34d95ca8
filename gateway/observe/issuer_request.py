"""Name what one request to the issuer leaves behind: its one line in the process log.

Data only. `gateway.issuer` fills it while it works on a request and hands it over at
the end, granted or refused alike. What stands in `unverified_` and `asked_` fields is a
caller's text: cut to length here, masked and escaped by whoever writes it.

The field names are those of the log. What equals its default is left out there.
"""

import msgspec

LONGEST_NAME = 128
LONGEST_SCOPE = 512


class IssuerRequest(msgspec.Struct, gc=False, omit_defaults=True, rename={"at": "time"}):
    """One token, introspection or revocation request and how it ended; text is "" when unknown."""

    at: float
    """Epoch seconds of its arrival."""
    level: str = ""
    logger: str = ""
    message: str = ""
    """What was asked: `token request`, `introspection request` or `revocation request`."""
    result: str = ""
    """`ok` or the OAuth error, as in the answer."""
    client: str = ""
    """The client that was proven."""
    grant: str = ""
    auth_method: str = ""
    audience: str = ""
    """Of the token that was issued."""
    scope: str = ""
    """What was granted."""
    lifetime_s: int = 0
    detail: str = ""
    """What the caller was told."""
    cause: str = ""
    """One word for what is really wrong, where the caller is told less."""
    request_id: str = ""
    peer: str = ""
    asked_grant: str = ""
    """A grant type that is not supported."""
    asked_audience: str = ""
    asked_scope: str = ""
    unverified_client: str = ""
    """The client that the caller says it is, when it was not proven."""
    unverified_iss: str = ""
    unverified_sub: str = ""
    unverified_kid: str = ""


CALLERS_TEXT = (
    "asked_grant",
    "asked_audience",
    "asked_scope",
    "unverified_client",
    "unverified_iss",
    "unverified_sub",
    "unverified_kid",
)


def cut(text: str | None, length: int = LONGEST_NAME) -> str:
    """Return at most `length` characters of `text`, the last three as dots when there was more."""
    if not text:
        return ""
    return text if len(text) <= length else f"{text[: length - 3]}..."
