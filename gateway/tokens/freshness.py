"""Say for how long a key set may be used before it is fetched again.

Pure. The fields are a stranger's: they are read by patterns of our own, and what is longer
than any honest field is not read. A date in one of the two obsolete forms counts as passed,
as one that cannot be read does (RFC 9111 5.3): the set is then fetched again soon.

Sources: RFC 9111 5.2.2.1 and 5.3; RFC 9110 5.6.7 (dates).
"""

import re
from calendar import timegm
from collections.abc import Mapping

MIN_FRESH_S = 60.0
MAX_FRESH_S = 3600.0
DEFAULT_FRESH_S = 900.0
MAX_FIELD = 1024
"""Characters."""

_MAX_AGE = re.compile(r'(?:^|[,\s])max-age\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[,\s])(?:no-cache|no-store)(?:$|[,\s=])", re.IGNORECASE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)


def fresh_seconds(headers: Mapping[str, str], now: float) -> float:
    """Return for how long an answer with these fields may be used, within our bounds."""
    control = headers.get("Cache-Control", "")[:MAX_FIELD]
    found = _MAX_AGE.search(control)
    if _NO_CACHE.search(control):
        wanted = 0.0
    elif found is not None:
        wanted = float(found[1])
    elif "Expires" in headers:
        wanted = read_date(headers["Expires"]) - now
    else:
        wanted = DEFAULT_FRESH_S
    return min(max(wanted, MIN_FRESH_S), MAX_FRESH_S)


def read_date(text: str) -> float:
    """Return the epoch seconds of an IMF-fixdate; 0 for anything else, which has passed."""
    match = _DATE.fullmatch(text.strip(" \t")[:MAX_FIELD])
    if match is None:
        return 0.0
    day, month, year, hour, minute, second = match.groups()
    try:
        return float(
            timegm((int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)))
        )
    except ValueError:
        return 0.0
