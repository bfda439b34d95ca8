"""Read a Content-Type field where one media type in UTF-8 is all that is wanted.

Pure. The field is read here and not by a library: aiohttp hands it to the parser of mail
fields, which takes more than linear time and recurses, so that one request could stop the
process. What is more than the type and `charset=utf-8` is no form or JSON that we read.

Sources: RFC 9110 8.3.1 (media type), 5.6.6 (parameters), 5.6.4 (quoted text), 5.3 (one field).
"""

import re
from collections.abc import Sequence

MAX_FIELD = 256
"""Octets; a longer field is not looked at."""

_FIELD = re.compile(r'([!-:<-~]+)[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?', re.IGNORECASE | re.ASCII)


def is_utf8_media_type(values: Sequence[str], media_type: str) -> bool:
    """Return whether there is exactly one value and it names `media_type`, with no charset but UTF-8.

    Args:
        values: Of all Content-Type fields of a message.
        media_type: In lower case.
    """
    if len(values) != 1 or len(values[0]) > MAX_FIELD:
        return False
    match = _FIELD.fullmatch(values[0].strip(" \t"))
    return match is not None and match[1].lower() == media_type
