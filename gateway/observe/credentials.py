"""Mask what looks like a token, an `Authorization` value, a secret parameter or a password in a text.

For texts that others wrote, before they are logged or shown. Pure.

Sources: RFC 7515 3.1 (compact form), RFC 9110 11.6.2 (Authorization), RFC 6750 2, RFC 6749 2.3.1.
"""

import re
from functools import cache

MASK = "[masked]"
SHORTEST_HEADER = 7
"""Characters of a token before its first dot."""

_DOTTED = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)+")
"""What may hold a token. It begins where a word begins: to look for `eyJ` from each place of a long word
anew costs the square of its length, and strangers choose what is logged of them."""
_CREDENTIALS = r"""
      (?P<field>
        \b(?:proxy-)?authorization \b \\?["']? \s* [:=,] \s* (?: b(?=["']) )? \\?["']? )
        (?: [A-Za-z-]+ [ ]+ )? [^\s"'\\,;]+
    | (?P<scheme> \b(?:bearer|basic|dpop) [ ]+ ) [A-Za-z0-9+/_.~-]{16,} =*
    | (?P<parameter>
        \b(?:client[_-]?secret|(?:client[_-]?)?assertion|(?:access|refresh|id|subject|actor)[_-]?token
            |password|passwd|api[_-]?key|secret[_-]?key|(?:shared)?access[_-]?key|subscription[_-]?key
            |saml(?:response|request)) \b
        \\?["']? \s* [:=,] \s* (?: b(?=["']) )? \\?["']? ) [^\s"'\\,;&]+
    | (?P<user> :// [^\s/?\#@:"'\\]* : ) [^\s/?\#@"'\\]+ (?=@)
    """


def mask_credentials(text: str) -> str:
    """Return `text` with everything that looks like a credential replaced by `[masked]`."""
    return _credentials().sub(_masked, mask_tokens(text))


@cache
def _credentials() -> re.Pattern[str]:
    """Return the expression for `_CREDENTIALS`, which the first text compiles: that takes long."""
    return re.compile(_CREDENTIALS, re.VERBOSE | re.IGNORECASE)


def mask_tokens(text: str) -> str:
    """Return `text` with everything that looks like a JWT replaced; it may say what is wrong with one."""
    return _DOTTED.sub(_without_token, text) if "eyJ" in text else text


def _without_token(match: re.Match[str]) -> str:
    """Return a dotted word up to the token in it: `eyJ`, more of a header, and a dot."""
    word = match[0]
    begin = word.find("eyJ")
    while begin >= 0:
        dot = word.find(".", begin)
        if dot < 0:
            break
        if dot - begin >= SHORTEST_HEADER:
            return word[:begin] + MASK
        begin = word.find("eyJ", begin + 1)
    return word


def _masked(match: re.Match[str]) -> str:
    return (match["field"] or match["scheme"] or match["parameter"] or match["user"]) + MASK
