"""Answer for countries and customers: the resource service behind the demo's gate.

It stands for any service of yours: plain HTTP and JSON, and not a word of OAuth.
Who may call it is the gate's business. `sidegate demo` runs it in its own process;
`python -m gateway.demo.country_service --port 9001` runs it alone.
"""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from aiohttp import web

from gateway.demo.countries import COUNTRIES
from gateway.tokens.jwt import JwtProblem, parse_json_object

CUSTOMERS_KEY = web.AppKey("customers", dict[str, str])

_dumps = partial(json.dumps, ensure_ascii=False)


def build_country_service() -> web.Application:
    """Return the service as an application; it owns its customers and starts with three."""
    application = web.Application(client_max_size=64 * 1024)
    application[CUSTOMERS_KEY] = {"1": "Ada Lovelace", "2": "Alan Turing", "3": "Grace Hopper"}
    application.add_routes(
        [
            web.get("/ms-system/health", _read_health),
            web.get("/ms-system/country/code/{code}", _read_country),
            web.get("/ms-system/customer/{id}", _read_customer),
            web.put("/ms-system/customer/{id}", _write_customer),
        ]
    )
    return application


@asynccontextmanager
async def serve_countries(port: int) -> AsyncIterator[None]:
    """Serve on 127.0.0.1:`port` in this process, as long as the context lasts."""
    runner = web.AppRunner(build_country_service(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def _read_health(request: web.Request) -> web.Response:
    return _answer({"status": "up"})


async def _read_country(request: web.Request) -> web.Response:
    code = request.match_info["code"]
    name = COUNTRIES.get(code)
    if name is None:
        return _problem(HTTPStatus.NOT_FOUND, "no country has this ISO 3166-1 alpha-3 code")
    return _answer({"code": code, "name": name})


async def _read_customer(request: web.Request) -> web.Response:
    customer = request.match_info["id"]
    name = request.app[CUSTOMERS_KEY].get(customer)
    if name is None:
        return _problem(HTTPStatus.NOT_FOUND, "no customer has this id")
    return _answer({"id": customer, "name": name})


async def _write_customer(request: web.Request) -> web.Response:
    customer = request.match_info["id"]
    if customer not in request.app[CUSTOMERS_KEY]:
        return _problem(HTTPStatus.NOT_FOUND, "no customer has this id")
    document = parse_json_object(await request.read())
    if isinstance(document, JwtProblem):
        return _problem(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        return _problem(HTTPStatus.BAD_REQUEST, "the body needs a name")
    request.app[CUSTOMERS_KEY][customer] = name
    return _answer({"id": customer, "name": name})


def _answer(document: dict[str, str], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(document, status=status, dumps=_dumps)


def _problem(status: HTTPStatus, message: str) -> web.Response:
    return _answer({"error": message}, status)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.demo.country_service",
        description="A resource service that knows nothing of OAuth.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9001, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    web.run_app(build_country_service(), host=arguments.host, port=arguments.port, access_log=None)


if __name__ == "__main__":
    main()
