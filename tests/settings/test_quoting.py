"""Show what of a text is quoted: of addresses what stands behind the last `@`, of secrets nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.quoting import quote, quote_address

ADDRESSES = [
    ("redis://:hunter2@host:6379/0", '"redis://***@host:6379/0"'),
    ("redis://:hunt/er2@host/0", '"redis://***@host/0"'),
    ("redis://:hunt@er2@host", '"redis://***@host"'),
    ("redis://user:hunt?er2@host", '"redis://***@host"'),
    ("redis://user:hunt#er2@host/7x", '"redis://***@host/"'),
    ("redis://:hunter2", '"redis://***"'),
    ("redis://:hunt/er2", '"redis://***"'),
    ("redis://:hunter2@", '"redis://***"'),
    ("redis://user:hunter2/0", '"redis://***"'),
    ("redis://:hunter2@ho st", '"redis://***"'),
    ("redis:/:hunter2@host", '"redis:***"'),
    ("redis:hunter2", '"redis:***"'),
    ("//:hunter2@host", '"***"'),
    ("user:hunter2@host", '"user:***"'),
    (":hunter2@host", '"***"'),
    ("https://u:hunter2@a.example:8443/x", '"https://***@a.example:8443/x"'),
    ("https://a.example/x?token=hunter2", '"https://a.example/x?***"'),
    ("https://a.example/x#hunter2", '"https://a.example/x#***"'),
    ("https://[fd00::1]:1/x", '"https://[fd00::1]:1/x"'),
    ("https://u:hunter2", '"https://***"'),
    ("http://a.example", '"http://a.example"'),
    ("jwks.json", '"jwks.json"'),
    ("sqlite:state/x.db", '"sqlite:state/x.db"'),
    ("unix:/run/a", '"unix:/run/a"'),
]


@pytest.mark.parametrize(("written", "quoted"), ADDRESSES)
def test_an_address(written: str, quoted: str) -> None:
    assert quote_address(written) == quoted
    assert "hunter2" not in quote(written) or quote(written) == f'"{written}"'


TEXTS = [
    ("text", '"text"'),
    ("/users/@me", '"/users/@me"'),
    ("x\ny", r'"x\ny"'),
    ("plain:hunter2", '"plain:***"'),
    ("SHA256:hunter2", '"SHA256:***"'),
    ("eyJhbGciOiJ9.eyJzdWIi.c2ln", '"[masked]"'),
    ("GET /x?access_token=hunter2&a=b", '"GET /x?access_token=[masked]&a=b"'),
    ("env:NAME", '"env:NAME"'),
    ("env:hunter2-", '"env:***"'),
    ("client_secret=hunter2", '"client_secret=[masked]"'),
    ("-----BEGIN PRIVATE KEY-----\nMIGH", '"-----BEGIN…"'),
    ("a" * 81, '"' + "a" * 80 + '…"'),
    ("see https://u:hunter2@a", '"***"'),
]


@pytest.mark.parametrize(("written", "quoted"), TEXTS)
def test_any_text(written: str, quoted: str) -> None:
    assert quote(written) == quoted


ODD = st.text(st.sampled_from("aB0/@:?#%+=&;,!$'()*[]{}|\\^~`\" .-_é\t"), max_size=12)


@given(
    scheme=st.sampled_from(["redis", "rediss", "http", "https", "ftp", "REDIS"]),
    user=ODD,
    before=ODD,
    after=ODD,
    host=st.sampled_from(["host", "host:6379/0", "[::1]:1", "h.example/x?y=z", "ho st", "host:x"]),
)
def test_no_password_is_quoted_whatever_is_in_it(
    scheme: str, user: str, before: str, after: str, host: str
) -> None:
    for written in (
        f"{scheme}://{user}:{before}MARKER{after}@{host}",
        f"{scheme}://:MARKER{after}",
        f"{scheme}://{host}?{before}=MARKER{after}",
    ):
        if "@" in after and written.endswith(after):
            continue  # behind the last @ a host is expected
        assert "MARKER" not in quote_address(written)
        assert "MARKER" not in quote(written)


@given(st.text(max_size=200))
def test_what_is_quoted_is_one_line_in_quotes(text: str) -> None:
    for quoted in (quote(text), quote_address(text)):
        assert re.fullmatch(r'".*"', quoted)
        assert quoted.isprintable()
