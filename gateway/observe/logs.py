"""Set up the process log: one line per event, as JSON or text, on stderr.

The access log is separate (`gateway.observe.access_log`); both may share one
`LineWriter`, which never blocks the loop. Callers never log tokens or secrets.
Should one slip through, in an exception's text for instance, the finished line is
searched for what looks like a token, an `Authorization` value, a secret parameter
or a password in a URL, and that is masked: the guard sees everything that will be written.

Sources: RFC 7515 3.1 (compact form), RFC 9110 11.6.2 (Authorization), RFC 6750 2, RFC 6749 2.3.1.
"""

import json
import logging

from gateway.observe.access_log import Timestamps
from gateway.observe.credentials import mask_credentials
from gateway.observe.line_writer import LineWriter

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Formats a record as one line, credentials masked.

    JSON members: time, level, logger, message, then the record's `extra`, then `exception`.
    """

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._as_text = log_format == "text"
        self._timestamp = Timestamps().format

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline; ASCII only."""
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        extra = {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD_ATTRIBUTES and not name.startswith("_")
        }
        time_text = self._timestamp(record.created)
        level = record.levelname.lower()
        message = mask_credentials(record.getMessage())
        if self._as_text:
            return self._text(f"{time_text} {level} {record.name}", message, extra, exception)
        members: dict[str, object] = {
            "time": time_text,
            "level": level,
            "logger": record.name,
            "message": message,
            **{name: _plain(value) for name, value in extra.items()},
        }
        if exception:
            members["exception"] = mask_credentials(exception)
        return json.dumps(members, separators=(",", ":")).replace("\x7f", "\\u007f")

    @staticmethod
    def _text(head: str, message: str, extra: dict[str, object], exception: str) -> str:
        pairs = "".join(f" {name}={json.dumps(_plain(value))}" for name, value in extra.items())
        trace = "".join(f"\n    {_printable(line)}" for line in mask_credentials(exception).splitlines())
        return f"{head}: {_printable(message)}{pairs}{trace}"


def _plain(value: object) -> object:
    """Return what JSON can hold: numbers and None as they are, the rest as masked text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask_credentials(str(value))


def _printable(text: str) -> str:
    """Return `text` with control and non-ASCII characters escaped, so that it stays one harmless line."""
    return "".join(
        character if " " <= character <= "~" else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class LineHandler(logging.Handler):
    """Gives finished lines to a writer."""

    def __init__(self, writer: LineWriter, log_format: str) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(LineFormatter(log_format))

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record; an error in formatting is reported by `handleError`, never raised."""
        try:
            self._writer.write(f"{self.format(record)}\n".encode("ascii", "backslashreplace"), 1)
        except Exception:
            self.handleError(record)


def configure_logging(level: str, log_format: str, writer: LineWriter) -> logging.Handler:
    """Send the process's log to `writer`, replacing the root logger's handlers; return the new handler.

    Args:
        level: debug, info, warning or error.
        log_format: json or text.
        writer: Usually on stderr; closed by whoever made it.
    """
    handler = LineHandler(writer, log_format)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Its own access log, at info, would double ours for every admin and issuer request.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    return handler
