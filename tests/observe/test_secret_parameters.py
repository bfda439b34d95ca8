"""Show which parameters of a query are masked, however their names are escaped."""

import time
from urllib.parse import quote

import pytest

from gateway.observe.secret_parameters import mask_address, mask_parameters

QUERIES = [
    ("", ""),
    ("a=1&b=2", "a=1&b=2"),
    ("access_token=x", "access_token=[masked]"),
    ("a=1&token=x&b=2", "a=1&token=[masked]&b=2"),
    ("a=1;token=x;b=2", "a=1;token=[masked];b=2"),
    ("client_secret=x%26y&code=z", "client_secret=[masked]&code=[masked]"),
    ("Access%5FToken=x", "Access%5FToken=[masked]"),
    ("%74oken=x", "%74oken=[masked]"),
    ("client-secret=x", "client-secret=[masked]"),
    ("X-Amz-Signature=x&X-Amz-Date=y", "X-Amz-Signature=[masked]&X-Amz-Date=y"),
    ("client_assertion=x&assertion=y", "client_assertion=[masked]&assertion=[masked]"),
    ("refresh_token=&token", "refresh_token=&token"),
    ("token=a=b", "token=[masked]"),
    ("token[]=x", "token[]=[masked]"),
    ("user%5Bpassword%5D=x", "user%5Bpassword%5D=[masked]"),
    ("q=eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "q=[masked]"),
    ("eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "[masked]"),
    ("country=AUS&codes=1", "country=AUS&codes=1"),
    ("&&=&a", "&&=&a"),
    ("token=%", "token=[masked]"),
    ("%FFtoken=x", "%FFtoken=[masked]"),
    ("password=a;b&c=1", "password=[masked];[masked]&c=1"),
    ("password=a;b;c", "password=[masked];[masked];[masked]"),
    ("a%3Ftoken%3Dx=y", "[masked]=[masked]"),
    ("Bearer%20abcdefgh12", "[masked]"),
]

SECRET_NAMES = [
    *(
        "secret",
        "clientSecret",
        "clientsecret",
        "CLIENT_SECRET",
        "client-secret",
        "client.secret",
        "client[secret]",
    ),
    *(
        "client%5Fsecret",
        "client%255Fsecret",
        "client%5Bsecret%5D",
        "auth%5Bpassword%5D",
        "client+secret",
        "clientſecret",
    ),
    *(
        "accesskey",
        "AccessKey",
        "sharedaccesskey",
        "SharedAccessKey",
        "access-key",
        "secretAccessKey",
        "private-key",
    ),
    *(
        "subscription-key",
        "Ocp-Apim-Subscription-Key",
        "api.key",
        "apiKey",
        "x-api-key",
        "API_KEY",
        "x-functions-key",
    ),
    *("auth_key", "authKey", "auth[key]", "key", "user[key]", "accountKey", "signing_key"),
    *(
        "otp",
        "pin",
        "user[pin]",
        "user.otp",
        "totp",
        "hmac",
        "x-hmac",
        "sas",
        "sig",
        "pwd",
        "userpwd",
        "new_passwd",
    ),
    *("SAMLResponse", "SAMLRequest", "SAMLart", "wresult", "id_token_hint", "csrfToken", "_csrf", "X-XSRF"),
    *(
        "passphrase",
        "passcode",
        "credentials",
        "x-amz-credential",
        "code_verifier",
        "codeVerifier",
        "PHPSESSID",
    ),
    *("sessionId", "session", "jwt", "auth", "Authorization", "ticket", "pass", "bearer", "code", "authCode"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_of_a_secret_however_it_is_joined(name: str) -> None:
    assert mask_parameters(f"a=1&{name}=hunter2&b=2") == f"a=1&{name}=[masked]&b=2"
    # Within a value, as an address or a form would hold it, escaped once and twice.
    assert mask_parameters(f"next=/cb?a%3D1%26{name}%3Dhunter2&b=2") == "next=[masked]&b=2"
    within = quote(quote(f"https://x.example/cb?{name}=hunter2"))
    assert mask_parameters(f"next={within}&b=2") == "next=[masked]&b=2"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "country",
            "codes",
            "page",
            "q",
            "keyword",
            "monkey",
            "author",
            "design",
            "spine",
            "pinned",
            "assets",
        ),
        *(
            "sort",
            "limit",
            "state",
            "redirect_uri",
            "client_id",
            "scope",
            "date",
            "signal",
            "language",
            "tags[]",
        ),
        *("country_code", "key_id", "passenger", "compass", "opinion", "filter[name]", "response_type"),
    ],
)
def test_what_applications_ask_for_is_shown(name: str) -> None:
    assert mask_parameters(f"{name}=AUS") == f"{name}=AUS"
    assert mask_parameters(f"q={name}%3Dx") == f"q={name}%3Dx"


@pytest.mark.parametrize(
    "value",
    [
        "%2Fcb%3Faccess_token%3Dopaque123",
        "/cb?access_token=opaque123",
        "Bearer%20opaque123",
        "bearer+x",
        "Basic%20dXNlcjpwYXNz",
        '{"token":"opaque"}',
        "%7B%22token%22%3A%20%22opaque%22%7D",
        "%7B%5C%22clientSecret%5C%22%3A1%7D",
        "{'pin': 1234}",
        "%3Cpassword%3Ehunter2%3C/password%3E",
        "https%3A%2F%2Fuser%3Ahunter2%40x.example%2F",
        "%65yJhbGciOiJIUzI1NiJ9.e30.c2ln",
        "eyJhbGciOiJIUzI1NiJ9%252Ee30%252Ec2ln",
        "-----BEGIN+PRIVATE+KEY-----",
    ],
)
def test_a_value_that_holds_a_secret(value: str) -> None:
    assert mask_parameters(f"a=1&q={value}&b=2") == "a=1&q=[masked]&b=2"


@pytest.mark.parametrize(
    "value",
    [
        *(
            "https://x.example/a?b=c",
            "https%3A%2F%2Fx.example%3A8080%2Fcb%3Fa%3D1",
            "12:30",
            "2026-01-01T12:30:00Z",
        ),
        *(
            "name:asc",
            '{"a":1}',
            "basic plan",
            "token",
            "the+bearer",
            "me@x.example",
            "a.b.c",
            "%C3%A9t%C3%A9",
        ),
    ],
)
def test_a_value_that_holds_none(value: str) -> None:
    assert mask_parameters(f"q={value}") == f"q={value}"


@pytest.mark.parametrize(
    "value",
    ["a" * 60_000, "%" * 60_000, "%25" * 20_000, "[" * 60_000, "://" * 20_000, "://a" * 15_000, "a " * 30_000,
     "a'" * 30_000, "a\\" * 30_000, "bearer " * 8_000, "bearer" + " " * 60_000, "a" + " " * 60_000,
     "eyJ" * 20_000, "a." * 30_000,
     "://" + "a" * 60_000, "a=" * 30_000, "a" + "'" * 60_000, "b-----" * 10_000],
    ids=lambda value: value[:8],
)  # fmt: skip
def test_long_values_take_linear_time(value: str) -> None:
    def mask() -> float:
        began = time.thread_time()
        mask_parameters(f"q={value}")
        mask_parameters(value)
        mask_parameters(f"{value}=1")
        return time.thread_time() - began

    assert min(mask() for _ in range(3)) < 0.5


@pytest.mark.parametrize(("query", "masked"), QUERIES)
def test_a_query(query: str, masked: str) -> None:
    assert mask_parameters(query) == masked


def test_a_query_of_very_many_parameters_is_cut() -> None:
    assert mask_parameters("&".join(["token=x"] * 100)) == "&".join(["token=[masked]"] * 100)
    assert mask_parameters("&".join(["token=x"] * 5000)) == "&".join(["token=[masked]"] * 100) + "&…"


@pytest.mark.parametrize("start", ["", "x=", "a%", "x;", "x=%25%25", "&" * 90 + "x="])
@pytest.mark.parametrize(
    "atom", ["a=", "a:", "a.b:", "é:", "a%253A", "%2561:", "%", "%25", "a,", "a&", "[a]:"]
)
def test_a_query_as_long_as_a_head_costs_little(start: str, atom: str) -> None:
    """Anybody sends it, and the loop waits while its line is written."""
    query = (start + atom * 32_000)[:32_000]

    def mask() -> float:
        began = time.thread_time()
        mask_parameters(query)
        return time.thread_time() - began

    assert min(mask() for _ in range(5)) < 0.02


@pytest.mark.parametrize("filling", ["a=b,", "a:", "%2525252541", "é b,"])
def test_what_is_too_much_to_look_at_is_masked(filling: str) -> None:
    assert mask_parameters(f"q={filling}1") == f"q={filling}1"
    assert mask_parameters(f"a=1&q={filling * 5000}token:x&b=2") == "a=1&q=[masked]&b=2"
    assert mask_parameters(f"{filling * 5000}token:x&b=2").count("[masked]") == 1
    assert "hunter2" not in mask_parameters("&".join([f"q={filling * 100}"] * 98) + "&q=token:hunter2")


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("/a/b", "/a/b"),
        ("https://x.example:8443/a?b=1#c", "https://x.example:8443/a?b=1#c"),
        ("https://u:hunter2@x.example/a", "https://[masked]@x.example/a"),
        ("https://u:hun@ter2@x.example", "https://[masked]@x.example"),
        ("//hunter2@x.example", "//[masked]@x.example"),
        ("https://x.example/~u@y//z", "https://x.example/~u@y//z"),
        ("/a;b=1;token=hunter2/c?token=hunter2", "/a;b=1;token=[masked]?token=[masked]"),
        ("spiffe://x.example/ns/a", "spiffe://x.example/ns/a"),
        ("urn:a:b", "urn:a:b"),
    ],
)
def test_an_address(address: str, masked: str) -> None:
    assert mask_address(address) == masked
