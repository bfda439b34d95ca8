"""Serve health, readiness, metrics, status and reload to operators.

The admin listener is not the gate: aiohttp, few requests, its own guards
(`gateway.admin.guards`). What the pages show comes from `AdminContext`. Every
refusal is a problem document.

Sources: RFC 9457 (problem details), RFC 9110 9.3.2 (HEAD) and 15.5.6 (Allow),
RFC 6750 3 (WWW-Authenticate), CSP Level 3.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from gateway.admin.compression import accepts_gzip, gzipped
from gateway.admin.context import AdminContext
from gateway.admin.guards import AdminRequest, Refused, find_refusal, needs_token, read_bearer
from gateway.admin.token_file import TokenFileError, is_admin_token
from gateway.own_answers import OwnServer
from gateway.state.interface import StateUnavailableError
from gateway.tokens.jwt import parse_json_object

BODY_LIMIT_BYTES = 64 * 1024
SHUTDOWN_TIMEOUT_S = 1.0
"""How long a request to this listener may go on after the drain."""
SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)


def build_admin(context: AdminContext) -> web.Application:
    """Return the admin application; whoever starts it chooses the socket."""
    pages = _Pages(context)
    app = web.Application(
        middlewares=[_answer_with_problems, _guard_with(context)], client_max_size=BODY_LIMIT_BYTES
    )
    app.on_response_prepare.append(_finish_headers)
    app.add_routes(
        [
            web.get("/healthz", pages.healthz),
            web.get("/readyz", pages.readyz),
            web.get("/metrics", pages.metrics),
            web.get("/api/v1/status", pages.status),
            web.post("/api/v1/reload", pages.reload),
            web.post("/api/v1/clients/{client}/revoke", pages.revoke_client),
        ]
    )
    return app


async def start_admin(context: AdminContext, sockets: Iterable[socket.socket]) -> web.AppRunner:
    """Serve on listening sockets and return the runner, whose `cleanup()` closes them.

    The caller calls that after the drain: probes ask until the end.
    """
    runner = _Runner(build_admin(context), handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    for listening in sockets:
        await web.SockSite(runner, listening).start()
    return runner


class _Runner(web.AppRunner):
    """Serves the application on such connections."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await made.request_handler(request)
            except web.HTTPException as refusal:  # raised before any page or middleware is asked
                response = _problem(HTTPStatus(refusal.status), _DETAILS.get(refusal.status, ""))
                response.headers.update(SECURITY_HEADERS)
                return response

        return OwnServer(serve, refuse=_refuse_unread, request_factory=made.request_factory)


def _refuse_unread(status: int) -> web.Response:
    """Return the problem for a request that cannot be read."""
    detail = (
        "see the process log" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "the request is malformed"
    )
    response = _problem(HTTPStatus(status), detail)
    response.headers.update(SECURITY_HEADERS)
    return response


class _Problem(web.Response):
    """An answer without the library's name and version, also where no application is asked."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


class _Pages:
    """The handlers, one method per endpoint."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Answer that the process is alive and its loop turns."""
        return _json(HTTPStatus.OK, {"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """Answer 200 when every check is ok, else 503; the body names all, and what is amiss otherwise."""
        checks = await self._context.ready_checks()
        degraded = self._context.degraded()
        ready = all(check.ok for check in checks.values())
        document = {
            "status": "not_ready" if not ready else "degraded" if degraded else "ready",
            "checks": {
                name: {"ok": check.ok, **({"detail": check.detail} if check.detail else {})}
                for name, check in checks.items()
            },
            "degraded": [
                {"name": entry.name, "detail": entry.detail, "since": round(entry.since, 3)}
                for entry in degraded
            ],
        }
        return _json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, document)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Stream the metrics in the format that `Accept` asks for, compressed where that is taken."""
        rendering = self._context.render_metrics(", ".join(request.headers.getall("Accept", [])))
        compressed = accepts_gzip(", ".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: rendering.content_type,
                hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}",
                **({hdrs.CONTENT_ENCODING: "gzip"} if compressed else {}),
            }
        )
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async for chunk in gzipped(rendering.chunks) if compressed else rendering.chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            logger.debug("a scraper went away")
        except Exception:
            # The head is out: a cut connection is the only way left to say that the body is not whole.
            logger.exception("the metrics could not be rendered")
            if request.transport is not None:
                request.transport.abort()
        return response

    async def status(self, _request: web.Request) -> web.StreamResponse:
        """Answer what runs and since when."""
        return _json(HTTPStatus.OK, self._context.status())

    async def reload(self, request: web.Request) -> web.StreamResponse:
        """Reload the configuration: 200 when it took effect, 422 with the problems when the old one stays.

        With `{"dry_run": true}` nothing is changed, and the answer says what would be.
        """
        dry_run = _read_dry_run(await request.read())
        if dry_run is None:
            return _problem(HTTPStatus.BAD_REQUEST, _RELOAD_BODY)
        outcome = await self._context.reload(dry_run)
        members = {
            "config_hash": outcome.config_hash,
            "problems": list(outcome.problems),
            **({"changes": list(outcome.changes)} if dry_run or outcome.changes else {}),
            **({"dry_run": True} if dry_run else {}),
        }
        if outcome.applied:
            return _json(HTTPStatus.OK, {"result": "ok", **members})
        kept = "would not be taken over" if dry_run else "was not taken over; the old one stays in effect"
        detail = f"the configuration {kept}"
        return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, members)

    async def revoke_client(self, request: web.Request) -> web.StreamResponse:
        """Revoke everything a client holds: 200 once it is durable, 404 for an unknown client."""
        if not await _is_without_body(request):
            return _problem(HTTPStatus.BAD_REQUEST, _NO_BODY)
        client_id = request.match_info["client"]
        try:
            issued_until = await self._context.revoke_client(client_id)
        except StateUnavailableError as error:
            logger.error("a revocation was refused: %s", error)
            return _problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "the revocation cannot be recorded now; nothing was revoked"
            )
        if issued_until is None:
            return _problem(HTTPStatus.NOT_FOUND, "there is no such client")
        logger.warning(
            "all tokens of a client were revoked", extra={"client": client_id, "issued_until": issued_until}
        )
        return _json(HTTPStatus.OK, {"client": client_id, "issued_until": issued_until})


def _guard_with(context: AdminContext) -> Middleware:
    """Return the middleware that refuses what must not be served, before any page is chosen."""
    told = ""
    """Why the token file cannot be used, as it was logged last: callers may come by the second."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal told
        settings = context.settings()
        head = _read_head(request)
        refused = find_refusal(head, settings)
        if refused is None and settings.token_file is not None and needs_token(head.path, settings):
            presented = read_bearer(head.authorization)
            try:
                if presented is None or not is_admin_token(settings.token_file, presented):
                    refused = Refused(401, "a valid admin token is required", challenge=True)
                if presented is not None:
                    told = ""
            except TokenFileError as error:
                refused = Refused(503, str(error))
                if told != refused.detail:
                    told = refused.detail
                    logger.error("admin requests are refused: %s", told)
        if refused is None:
            return await handler(request)
        response = _problem(HTTPStatus(refused.status), refused.detail)
        if refused.challenge:
            response.headers["WWW-Authenticate"] = 'Bearer realm="sidegate admin"'
        return response

    return guard


def _read_head(request: web.Request) -> AdminRequest:
    headers = request.headers
    return AdminRequest(
        method=request.method,
        path=request.path,
        scheme=request.scheme,
        host=headers.getall("Host", []),
        origin=headers.getall("Origin", []),
        fetch_site=headers.getall("Sec-Fetch-Site", []),
        content_type=headers.getall("Content-Type", []),
        authorization=headers.getall("Authorization", []),
        minor_version=request.version.minor,
    )


@web.middleware
async def _answer_with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn aiohttp's own refusals (404, 405, 413) and unexpected errors into problem documents."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        response = _problem(HTTPStatus(refusal.status), _DETAILS.get(refusal.status, ""))
        if "Allow" in refusal.headers:
            response.headers["Allow"] = refusal.headers["Allow"]
        return response
    except Exception:
        logger.exception("an admin request failed")
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "see the process log")


_RELOAD_BODY = 'the body must be empty, {} or {"dry_run": true}'
_NO_BODY = "the body must be empty or an empty JSON object"

_DETAILS: Mapping[int, str] = {
    404: "there is no such page",
    405: "the page does not take this method",
    417: "the only expectation that is met here is 100-continue",
    413: f"a body may have {BODY_LIMIT_BYTES} bytes",
}


async def _finish_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers and take away aiohttp's name and version."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.pop("Server", None)


def _json(status: HTTPStatus, document: Mapping[str, object]) -> web.Response:
    body = msgspec.json.encode(document) + b"\n"
    return web.Response(status=status, body=body, content_type="application/json")


def _problem(status: HTTPStatus, detail: str, members: Mapping[str, object] | None = None) -> web.Response:
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        **(members or {}),
    }
    body = msgspec.json.encode(document) + b"\n"
    return _Problem(status=status, body=body, content_type="application/problem+json")


def _read_dry_run(body: bytes) -> bool | None:
    """Return what the body of a reload asks for, or None when it is neither empty nor understood."""
    members = parse_json_object(body) if body else {}
    if not isinstance(members, dict) or not members.keys() <= {"dry_run"}:
        return None
    dry_run = members.get("dry_run", False)
    return dry_run if isinstance(dry_run, bool) else None


async def _is_without_body(request: web.Request) -> bool:
    body = await request.read()
    return not body or parse_json_object(body) == {}
