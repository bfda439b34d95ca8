"""Show what the demo's resource service answers."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.demo.countries import COUNTRIES
from gateway.demo.country_service import build_country_service


@pytest.fixture
async def service():
    async with TestClient(TestServer(build_country_service())) as client:
        yield client


async def test_a_country_by_its_code_byte_for_byte(service):
    answer = await service.get("/ms-system/country/code/AUS")
    assert (answer.status, await answer.read()) == (200, b'{"code": "AUS", "name": "AUSTRALIA"}')
    assert answer.content_type == "application/json"


@pytest.mark.parametrize("code", ["XXX", "aus", "AU", "AUST"])
async def test_an_unknown_code_is_404_with_json(service, code):
    answer = await service.get(f"/ms-system/country/code/{code}")
    assert answer.status == 404
    assert "error" in await answer.json()


async def test_health(service):
    answer = await service.get("/ms-system/health")
    assert (answer.status, await answer.json()) == (200, {"status": "up"})


async def test_a_customer_is_read_and_written(service):
    assert await (await service.get("/ms-system/customer/1")).json() == {"id": "1", "name": "Ada Lovelace"}
    written = await service.put("/ms-system/customer/1", json={"name": "Ada King"})
    assert written.status == 200
    assert await (await service.get("/ms-system/customer/1")).json() == {"id": "1", "name": "Ada King"}
    assert (await service.get("/ms-system/customer/99")).status == 404
    assert (await service.put("/ms-system/customer/99", json={"name": "x"})).status == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"name": ""}', b'{"name": 1}'])
async def test_a_bad_customer_document_is_400(service, body):
    assert (await service.put("/ms-system/customer/1", data=body)).status == 400


def test_the_list_is_whole():
    assert len(COUNTRIES) == 249
    assert list(COUNTRIES) == sorted(COUNTRIES)
    for code, name in COUNTRIES.items():
        assert len(code) == 3
        assert code.isascii()
        assert code.isupper()
        assert name == name.upper()
        assert name.strip()
