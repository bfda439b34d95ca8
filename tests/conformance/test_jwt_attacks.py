"""Attack the running process with signed tokens, at its token endpoint and at its gate.

Every row is refused for its own reason, and its twin, which differs only in the defect,
is accepted by the same process. Nothing that is refused reaches the upstream, and no
address that only a token names is ever asked.

Sources: RFC 8725 2 and 3; RFC 7515 4.1 and 5.2; RFC 7523 3; RFC 9068 4.
"""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from gateway.tokens.base64url import decode_base64url, encode_base64url
from tests.conformance.attacks import EVERYWHERE, RSA, Attack, Carrier, access_claims, assertion_claims
from tests.journeys.conftest import Answer, Appliance, call
from tests.support.jws import Key, make_key
from tests.support.ports import free_port

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PLATFORM = "https://platform.example"

OURS = make_key("ES256", "filled in below")
CLIENT = make_key("ES256", "client-key")
RSA_CLIENT = make_key("RS256", "rsa-client-key")
PLATFORM_KEY = make_key("ES256", "platform-key")
NUMBERS = itertools.count()
PORT, UPSTREAM_PORT = free_port(), free_port()
ISSUER = f"http://127.0.0.1:{PORT}"
ELSEWHERE = f"http://127.0.0.1:{UPSTREAM_PORT}/attacker-keys"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Recorder(BaseHTTPRequestHandler):
    """The upstream, and the server that attackers point to."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """Return the targets that the upstream, and whoever listens where tokens point, was asked for."""
    return []


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, seen: list[str]) -> Iterator[Appliance]:
    """One running process with our own signing key, a client's key and a platform's."""
    directory = tmp_path_factory.mktemp("attacked")
    (directory / "keys").mkdir(mode=0o700)
    key_file = directory / "keys" / "ours.jwk"
    key_file.write_text(OURS.jwk.export_private())
    key_file.chmod(0o600)
    server = ThreadingHTTPServer(("127.0.0.1", UPSTREAM_PORT), type("Handler", (Recorder,), {"seen": seen}))
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    appliance = Appliance(directory, PORT, free_port(), main_name="gateway.yaml")
    appliance.main.write_text(yaml.safe_dump(_configuration(appliance)))
    appliance.start()
    yield appliance
    assert appliance.stop() == 0
    assert "Traceback" not in appliance.err
    server.shutdown()
    server.server_close()
    thread.join()


def _configuration(appliance: Appliance) -> dict[str, Any]:
    return {
        "version": 1,
        "listeners": [{"address": f"127.0.0.1:{appliance.port}"}],
        "admin": {"address": f"127.0.0.1:{appliance.admin_port}"},
        "issuer": {"url": ISSUER},
        "state": "memory:",
        "limits": {"bad_tokens": {"requests": 0}},
        "upstreams": {"country": {"targets": [f"http://127.0.0.1:{UPSTREAM_PORT}"]}},
        "clients": {
            "country-service": {"scopes": {"country.read": "Read", "country.write": "Write"}},
            "caller": {"jwks": {"keys": [CLIENT.public]}},
            "rsa-caller": {"jwks": {"keys": [RSA_CLIENT.public]}},
            "workload": {
                "assertions": [
                    {"issuer": PLATFORM, "subject": "job", "jwks": {"keys": [PLATFORM_KEY.public]}}
                ]
            },
        },
        "authorizations": [
            {"client": name, "audience": "country-service", "scopes": ["country.read", "country.write"]}
            for name in ("caller", "rsa-caller", "workload")
        ],
        "routes": [
            {
                "path": "/country/**",
                "upstream": "country",
                "require": {"audience": "country-service", "scopes": ["country.read"]},
            }
        ],
    }


def _assertion_claims(issuer: str, subject: str) -> dict[str, Any]:
    return {
        "iss": issuer,
        "sub": subject,
        "aud": ISSUER,
        "exp": int(time.time()) + 300,
        "iat": int(time.time()) - 5,
        "jti": f"j{next(NUMBERS)}",
    }


def _access_claims() -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "sub": "caller",
        "client_id": "caller",
        "aud": "country-service",
        "iat": now - 5,
        "nbf": now - 5,
        "exp": now + 600,
        "jti": f"a{next(NUMBERS)}",
        "scope": "country.read",
    }


OUR_KEY = Key(OURS.jwk.thumbprint(), "ES256", OURS.jwk, OURS.sign)
CARRIERS = {
    "client": Carrier("client", CLIENT, None, lambda: _assertion_claims("caller", "caller"), ELSEWHERE),
    "rsa": Carrier("rsa", RSA_CLIENT, None, lambda: _assertion_claims("rsa-caller", "rsa-caller"), ELSEWHERE),
    "grant": Carrier("grant", PLATFORM_KEY, "JWT", lambda: _assertion_claims(PLATFORM, "job"), ELSEWHERE),
    "access": Carrier("access", OUR_KEY, "at+jwt", _access_claims, ELSEWHERE),
}
ROWS = [
    *((carrier, attack) for carrier in ("client", "grant", "access") for attack in EVERYWHERE),
    *(("rsa", attack) for attack in RSA),
    *((carrier, attack) for carrier in ("client", "grant") for attack in assertion_claims(ISSUER)),
    *(("access", attack) for attack in access_claims()),
]


def present(process: Appliance, carrier: str, token: bytes) -> Answer:
    text = token.decode("latin-1")
    if carrier == "access":
        return call(process.port, "GET", "/country/AUS", headers={"Authorization": f"Bearer {text}"})
    if carrier in ("client", "rsa"):
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": CLIENT_ASSERTION,
            "client_assertion": text,
        }
    else:
        form = {"grant_type": JWT_BEARER, "assertion": text}
    return call(process.port, "POST", "/oauth2/token", form=form)


def failures(process: Appliance) -> dict[str, float]:
    """Return how often each reason was counted at the token endpoint."""
    found: dict[str, float] = {}
    for line in process.admin("GET", "/metrics").body.decode().splitlines():
        if line.startswith("sidegate_client_auth_failures_total{"):
            labels, _, value = line.rpartition(" ")
            reason = labels.split('reason="')[1].split('"')[0]
            found[reason] = found.get(reason, 0) + float(value)
    return found


def refusal(process: Appliance, carrier: str, token: bytes) -> tuple[int, str]:
    """Return status and our own word for why the token is refused."""
    if carrier == "access":
        answer = present(process, carrier, token)
        return answer.status, answer.reason or ""
    before = failures(process)
    answer = present(process, carrier, token)
    after = failures(process)
    new = [reason for reason in after if after[reason] != before.get(reason, 0)]
    expected = ("invalid_grant", 400) if carrier == "grant" else ("invalid_client", 401)
    assert (answer.json["error"], answer.status) == expected, answer.json
    return answer.status, new[0]


@pytest.mark.parametrize(("carrier", "attack"), ROWS, ids=[f"{c}: {a.name}" for c, a in ROWS])
def test_an_attack_is_refused_for_its_reason_and_its_twin_is_accepted(
    process: Appliance, seen: list[str], carrier: str, attack: Attack
) -> None:
    before = len(seen)
    token = attack.make(CARRIERS[carrier])
    status, reason = refusal(process, carrier, token)
    assert (reason, status >= 400) == (attack.expected(carrier), True)
    assert seen[before:] == []
    accepted = present(process, carrier, attack.twin(CARRIERS[carrier]))
    assert accepted.status == 200, accepted.body
    assert seen[before:] == (["/country/AUS"] if carrier == "access" else [])


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) > 300
    assert len({attack.name for _, attack in ROWS}) >= 80


# --- one kind of token in the place of another


def test_no_kind_of_token_passes_for_another(process: Appliance, seen: list[str]) -> None:
    kinds = ("client", "grant", "access")
    honest = {name: CARRIERS[name].signed() for name in kinds}
    found = {
        (kind, place): refusal(process, place, honest[kind])[1]
        for kind, place in itertools.permutations(kinds, 2)
    }
    assert found == {
        ("access", "client"): "wrong_type",
        ("access", "grant"): "wrong_type",
        ("client", "access"): "wrong_type",
        ("client", "grant"): "unknown_identity",
        ("grant", "access"): "wrong_issuer",
        ("grant", "client"): "wrong_issuer",
    }
    issued = present(process, "client", CARRIERS["client"].signed()).json["access_token"].encode()
    for place in ("client", "grant"):
        assert refusal(process, place, issued)[1] == "wrong_type"
    before = len(seen)
    assert present(process, "access", issued).status == 403  # no scope was asked for
    assert len(seen) == before


def test_an_id_token_for_somebody_else_is_no_grant(process: Appliance) -> None:
    carrier = CARRIERS["grant"]
    id_token = carrier.payload(aud="some-web-application", nonce="n", at_hash="h", auth_time=1)
    assert refusal(process, "grant", carrier.signed(payload=id_token))[1] == "wrong_audience"
    assert refusal(process, "access", carrier.signed(payload=id_token))[1] == "wrong_issuer"


def other_spelling(token: bytes) -> bytes:
    """Return the token with the (r, n-s) twin of its signature, which is as valid."""
    signing_input, _, signature = token.rpartition(b".")
    octets = decode_base64url(signature)
    assert octets is not None
    s = ORDER - int.from_bytes(octets[32:], "big")
    return signing_input + b"." + encode_base64url(octets[:32] + s.to_bytes(32, "big"))


@pytest.mark.parametrize("place", ["client", "grant"])
def test_a_used_assertion_is_used_in_all_its_spellings(process: Appliance, place: str) -> None:
    token = CARRIERS[place].signed()
    assert present(process, place, token).status == 200
    for spelling in (token, other_spelling(token)):
        assert refusal(process, place, spelling)[1] == "replayed"
    fresh = CARRIERS[place].signed()
    assert present(process, place, other_spelling(fresh)).status == 200
    assert refusal(process, place, fresh)[1] == "replayed"


def test_the_high_s_twin_of_a_revoked_token_is_revoked(process: Appliance, seen: list[str]) -> None:
    token = CARRIERS["access"].signed()
    spellings = (token, other_spelling(token))
    assert [present(process, "access", each).status for each in spellings] == [200, 200]
    form = {
        "token": other_spelling(token).decode(),
        "client_assertion_type": CLIENT_ASSERTION,
        "client_assertion": CARRIERS["client"].signed().decode(),
    }
    assert call(process.port, "POST", "/oauth2/revoke", form=form).status == 200
    before = len(seen)
    assert [present(process, "access", each).reason for each in spellings] == ["revoked", "revoked"]
    assert len(seen) == before


def test_json_of_every_refusal_is_ours(process: Appliance) -> None:
    answer = present(process, "grant", b"secret")
    assert json.loads(answer.body)["messages"]
    assert answer.headers["Cache-Control"] == "no-store"
