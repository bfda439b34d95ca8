"""Mask the values of query parameters that carry secrets.

A query is logged or shown on request only, and even then no token, code or password in it
is. A parameter is known by its name, however that is escaped, joined and capitalised:
`client_secret`, `clientSecret`, `client%2Dsecret`, `client[secret]` and `client.secret` are
one. A value is masked under any name when it looks like a token or holds a parameter that
would be masked: an address with a query, a form, JSON. Too much is masked rather than too
little. Pure, in time linear in the query, and bounded: whoever sends a query of nothing
but names or escapes has it masked, not looked through.

Sources: RFC 6749 2.3.1, 4.1.3 (client_secret, code), RFC 6750 2.1, 2.3 (Bearer, access_token),
RFC 7521 4.2 (assertions), RFC 7662 2.1 (token), SAML 2.0 Bindings 3.4 to 3.6 (SAMLResponse, SAMLart).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_plus

from gateway.observe.credentials import mask_tokens

MASK = "[masked]"
MOST_PARAMETERS = 100
"""More are not looked at one by one: a query of separators alone would cost 40 ms."""
MOST_NAMES = 128
"""Within values, of a whole query: what holds more is masked. Each costs 1.5 µs, and 32 KiB hold 16 000."""
MOST_ESCAPES = 1024
"""Likewise; each costs 0.5 µs. An ordinary query has some hundred."""
MOST_CHARACTERS = 8 * 1024
"""Likewise, each decoding counted anew, of what is more than a word; each costs up to 0.1 µs."""
LONGEST_REMEMBERED_NAME = 32
REMEMBERED_NAMES = 512
MOST_DECODINGS = 3
"""An address within an address is escaped once more; deeper ones are not looked into."""

_NAMES = frozenset(
    {
        *(
            "auth",
            "authcode",
            "code",
            "cred",
            "creds",
            "devicecode",
            "dpop",
            "hotp",
            "jwt",
            "key",
            "mfa",
            "mfacode",
        ),
        *(
            "otp",
            "otpcode",
            "pass",
            "passcode",
            "pin",
            "pincode",
            "psk",
            "pw",
            "sas",
            "session",
            "sid",
            "sig",
        ),
        *("ticket", "totp", "totpcode", "usercode", "wresult"),
    }
)
"""What a name, or the last part of one, is as a whole."""
_PARTS = re.compile(
    "token|secret|passw|passphrase|passkey|credential|authorization|assertion|signature|saml|bearer|cookie|csrf|xsrf"
    "|accesskey|apikey|appkey|authkey|accountkey|clientkey|cryptkey|encryptionkey|functionskey|mackey"
    "|masterkey|privatekey|serverkey|servicekey|sessionkey|sharedkey|signingkey|signkey|storagekey|subscriptionkey"
    "|userkey|userpass|dbpass|codeverifier|verificationcode|accesscode|sessionid|sessid|hmac|pwd"
)
"""What makes a name one of a secret wherever it stands in it, once all but letters and digits is left out."""
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")
_STEPS = re.compile(r"[\[\].:/]+")
"""What leads from a name to one within it: `user[pin]`, `user.pin`."""
_SEPARATOR = re.compile(r"([&;])")
_NAMED = re.compile(r"""(?<![\w.\[\]-])([\w.\[\]-]+)[\\"']*\s*[=:>]""")
"""A name in front of its value, in a form, JSON or XML. It begins where a word begins: to look from each
place of a long word anew costs the square of its length."""
_USER = re.compile(r"//[^/?#]*@")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]*")
"""Text with nothing in it to decode or to tell a name from its value."""
_SPOKEN = re.compile(
    r"\b(?:(?:bearer|dpop|negotiate)\s+\S|basic\s+[A-Za-z0-9+/_-]{8})"  # an Authorization value
    r"|-----begin"  # a key
    r"|://[^\s/?#:@]*:[^\s/?#@]*@",  # a password in an address
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Effort:
    """What may still be looked at in one query."""

    names: int = MOST_NAMES
    escapes: int = MOST_ESCAPES
    characters: int = MOST_CHARACTERS

    def spend(self, text: str) -> bool:
        """Return whether `text` may be looked at, too."""
        self.characters -= len(text)
        self.escapes -= text.count("%")
        return self.characters >= 0 and self.escapes >= 0


def mask_parameters(query: str) -> str:
    """Return a query, without its `?`, in which the values of secret parameters are `[masked]`.

    It ends with `…` in place of what stands behind the first `MOST_PARAMETERS`. Values are masked,
    too, once more names or escapes than are looked at stand in it.
    """
    first, *rest = _SEPARATOR.split(query, maxsplit=MOST_PARAMETERS)
    effort = _Effort()
    shown = [_mask_parameter(first, effort)]
    for separator, parameter in zip(rest[::2], rest[1::2], strict=True):
        # Most readers take `;` for a part of the value, so what follows it may be the end of a password.
        goes_on = separator == ";" and shown[-1].endswith(MASK) and parameter and "=" not in parameter
        shown += [separator, MASK if goes_on else _mask_parameter(parameter, effort)]
    if len(rest) == 2 * MOST_PARAMETERS:
        shown[-1] = "…"
    return "".join(shown)


def mask_address(address: str) -> str:
    """Return an address or a path without user information and secret parameters of path and query."""
    place, mark, query = address.partition("?")
    masked = mask_path(_USER.sub(f"//{MASK}@", place, count=1))
    return f"{masked}?{mask_parameters(query)}" if mark else masked


def mask_path(path: str) -> str:
    """Return a path without what looks like a token in it, and without secret parameters behind `;`."""
    place, semicolon, parameters = path.partition(";")
    place = mask_tokens(place)
    return f"{place};{mask_parameters(parameters)}" if semicolon else place


def _mask_parameter(parameter: str, effort: _Effort) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return MASK if _holds_a_secret(name, effort) else name
    if value and (_names_a_secret(name, effort) or _holds_a_secret(value, effort)):
        value = MASK
    return f"{MASK if _holds_a_secret(name, effort) else name}={value}"


def _names_a_secret(name: str, effort: _Effort) -> bool:
    """Return whether a name as it was sent is one of a secret. Short ones are remembered."""
    if len(name) <= LONGEST_REMEMBERED_NAME:
        return _remembered(name)
    *_, plain = _decode(name, effort)
    return plain is None or _is_secret(plain)


@lru_cache(maxsize=REMEMBERED_NAMES)
def _remembered(name: str) -> bool:
    *_, plain = _decode(name, _Effort())
    return plain is None or _is_secret(plain)


def _is_secret(name: str) -> bool:
    """Return whether a decoded name is one of a secret."""
    steps = [_NOT_ALPHANUMERIC.sub("", step) for step in _STEPS.split(name.casefold())]
    steps = [step for step in steps if step]
    whole = "".join(steps)
    return whole in _NAMES or bool(steps and steps[-1] in _NAMES) or _PARTS.search(whole) is not None


def _holds_a_secret(text: str, effort: _Effort) -> bool:
    """Return whether text looks like a token or names one, as it is or decoded, or is too much to look at."""
    return _PLAIN.fullmatch(text) is None and any(
        form is None
        or _looks_like_a_token(form)
        or _SPOKEN.search(form) is not None
        or _holds_a_name(form, effort)
        for form in _decode(text, effort)
    )


def _holds_a_name(form: str, effort: _Effort) -> bool:
    for match in _NAMED.finditer(form):
        effort.names -= 1
        if effort.names < 0 or _is_secret(match[1]):
            return True
    return False


def _decode(text: str, effort: _Effort) -> Iterator[str | None]:
    """Yield `text` and what it reads once, twice and more often decoded, while that changes it.

    The last is None where it is more than may still be looked at.
    """
    for _ in range(1 + MOST_DECODINGS):
        if not effort.spend(text):
            yield None
            return
        yield text
        plain = unquote_plus(text) if "%" in text or "+" in text else text
        if plain == text:
            return
        text = plain


def _looks_like_a_token(text: str) -> bool:
    begin = text.find("eyJ")
    return begin >= 0 and "." in text[begin:]
