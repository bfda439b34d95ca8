"""Let the pages of listed origins call the token endpoint, and no others."""

import pytest

from tests.issuer.conftest import BASIC, EC_RING, ServedIssuer, make_settings

PAGE = "https://app.example"
FORM = {"grant_type": "client_credentials"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def open_issuer(issuer: ServedIssuer) -> ServedIssuer:
    issuer.configure(make_settings(cors_origins=(PAGE, "http://localhost:3000")), EC_RING)
    return issuer


async def test_a_listed_page_may_ask_and_read(open_issuer: ServedIssuer) -> None:
    url = open_issuer.url + "/oauth2/token"
    async with open_issuer.http.options(url, headers={"Origin": PAGE, **PREFLIGHT}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
        assert answer.headers["Access-Control-Max-Age"] == "600"
        assert answer.headers["Vary"].startswith("Origin")
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for auth, status in ((BASIC, 200), ("Basic eDp5", 401)):
        headers = {"Origin": PAGE, "Authorization": auth}
        async with open_issuer.http.post(url, data=FORM, headers=headers) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert answer.headers["Vary"] == "Origin"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.evil.example",
        "https://app.example:443",
        "http://app.example",
        "https://APP.example",
        "https://evil.example",
        "null",
        "*",
        "",
        f"{PAGE} {PAGE}",
    ],
)
async def test_any_other_page_may_not(open_issuer: ServedIssuer, origin: str) -> None:
    url = open_issuer.url + "/oauth2/token"
    async with open_issuer.http.options(url, headers={"Origin": origin, **PREFLIGHT}) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"
    headers = {"Origin": origin, "Authorization": BASIC}
    async with open_issuer.http.post(url, data=FORM, headers=headers) as answer:
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


async def test_two_origins_are_none(open_issuer: ServedIssuer) -> None:
    headers = [("Origin", PAGE), ("Origin", "https://evil.example"), ("Authorization", BASIC)]
    async with open_issuer.http.post(open_issuer.url + "/oauth2/token", data=FORM, headers=headers) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_without_a_list_nothing_is_said(issuer: ServedIssuer) -> None:
    url = issuer.url + "/oauth2/token"
    async with issuer.http.options(url, headers={"Origin": PAGE, **PREFLIGHT}) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert "Vary" not in answer.headers
    async with issuer.http.post(url, data=FORM, headers={"Origin": PAGE, "Authorization": BASIC}) as answer:
        assert not {name for name in answer.headers if name.lower().startswith("access-control")}


@pytest.mark.parametrize("endpoint", ["introspect", "revoke"])
async def test_other_endpoints_are_not_for_pages(open_issuer: ServedIssuer, endpoint: str) -> None:
    url = f"{open_issuer.url}/oauth2/{endpoint}"
    async with open_issuer.http.options(url, headers={"Origin": PAGE, **PREFLIGHT}) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers
