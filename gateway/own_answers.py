"""Serve aiohttp handlers so that every answer is the service's own, also to what the parser refuses.

Left alone, aiohttp answers a head that it cannot read in plain text that repeats what was sent,
credentials included, and logs a traceback for it; and it inflates bodies, so that a small one
becomes a large one. Whoever serves by this says how a refusal looks.

Sources: RFC 9110 15.5 and 17.13 (nothing that was sent is repeated).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Refuse = Callable[[int], web.Response]
"""Status (400, or 500 when the fault is ours) -> the answer; it may not depend on the request."""

_log = logging.getLogger(__name__)


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_refuse",)

    def __init__(self, server: "OwnServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._refuse = server.refuse

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the service's refusal, and close behind it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        _log.info("a request was refused by the parser: %s", type(exc).__name__)
        response = self._refuse(500 if status >= 500 else 400)
        response.force_close()
        return response


class OwnServer(web.Server):
    """Makes such connections: no access log, nothing inflated.

    Args:
        handler: Answers what can be read.
        refuse: Answers what cannot.
        request_factory: As aiohttp's `web.Server` takes it.
        options: For aiohttp's `web.RequestHandler`, e.g. `max_field_size`.
    """

    def __init__(self, handler: Handler, *, refuse: Refuse, request_factory: Any, **options: Any) -> None:
        super().__init__(handler, request_factory=request_factory)
        self.refuse = refuse
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # a library type says otherwise; None is what switches it off
            auto_decompress=False,
            **self._options,
        )
