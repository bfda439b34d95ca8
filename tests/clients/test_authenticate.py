"""Take credentials apart and prove them, with one answer for every failure."""

import base64
import hashlib
from collections.abc import Sequence

import pytest

from gateway.clients.authenticate import (
    AuthFailure,
    AuthReason,
    PresentedSecret,
    ProvenClient,
    authenticate,
    read_credentials,
)
from gateway.clients.problems import ErrorCode
from gateway.clients.registry import ScryptCost, compile_registry
from gateway.clients.secrets import check_scrypt_secrets
from gateway.settings.model import ClientSettings, PlainSecret, ScryptSecret, Settings, Sha256Secret


def basic(text: str | bytes, scheme: str = "Basic") -> str:
    octets = text.encode() if isinstance(text, str) else text
    return f"{scheme} {base64.b64encode(octets).decode()}"


@pytest.mark.parametrize(
    ("authorization", "form", "expected"),
    [
        ([basic("id:secret")], {}, ("client_secret_basic", "id", b"secret")),
        ([basic("id:secret", "BASIC")], {}, ("client_secret_basic", "id", b"secret")),
        ([basic("id:se:cr:et")], {}, ("client_secret_basic", "id", b"se:cr:et")),
        ([basic("id:")], {}, ("client_secret_basic", "id", b"")),
        ([basic("a%3Ab+c:%2F%2B+%25")], {}, ("client_secret_basic", "a:b c", b"/+ %")),
        ([basic("%2F%2Fx%2Fy:s")], {}, ("client_secret_basic", "//x/y", b"s")),
        ([basic("%C3%A9:%C3%A9")], {}, ("client_secret_basic", "é", "é".encode())),
        ([basic("é:é")], {}, ("client_secret_basic", "é", "é".encode())),
        ([basic("id:secret")], {"client_id": "id"}, ("client_secret_basic", "id", b"secret")),
        ([], {"client_id": "id", "client_secret": "se+cret"}, ("client_secret_post", "id", b"se+cret")),
    ],
)
def test_credentials_are_read(
    authorization: list[str], form: dict[str, str], expected: tuple[str, str, bytes]
) -> None:
    presented = read_credentials(authorization, form)
    assert isinstance(presented, PresentedSecret)
    assert (presented.method, presented.client_id, presented.secret) == expected


@pytest.mark.parametrize(
    ("authorization", "form", "reason", "code"),
    [
        ([], {}, AuthReason.NO_CREDENTIALS, ErrorCode.INVALID_CLIENT),
        ([], {"client_id": "id"}, AuthReason.NO_CREDENTIALS, ErrorCode.INVALID_CLIENT),
        ([], {"client_secret": "s"}, AuthReason.MALFORMED, ErrorCode.INVALID_REQUEST),
        ([basic("id:s")], {"client_secret": "s"}, AuthReason.SEVERAL_METHODS, ErrorCode.INVALID_REQUEST),
        ([basic("id:s"), basic("id:s")], {}, AuthReason.SEVERAL_METHODS, ErrorCode.INVALID_REQUEST),
        ([basic("id:s")], {"client_id": "other"}, AuthReason.SEVERAL_METHODS, ErrorCode.INVALID_REQUEST),
        (["Bearer abc"], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        (["Basic"], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        (["Basic !!!!"], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        (["Basic aWQ6cw=x"], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic("id:s").rstrip("=")[:-1]], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic("no colon")], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic(":s")], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic("id:%zz")], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic("id:%ff")], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        ([basic(b"id:\xff")], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
        (["Basic \udcff"], {}, AuthReason.MALFORMED, ErrorCode.INVALID_CLIENT),
    ],
)
def test_bad_credentials_are_refused(
    authorization: list[str], form: dict[str, str], reason: AuthReason, code: ErrorCode
) -> None:
    failure = read_credentials(authorization, form)
    assert isinstance(failure, AuthFailure)
    assert (failure.reason, failure.problem.code) == (reason, code)


class CountingScrypt:
    """Runs scrypt in place and remembers what it was asked to compute."""

    def __init__(self) -> None:
        self.computed: list[list[ScryptCost]] = []

    async def check(
        self, given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost], *, peer: str
    ) -> bool:
        costs = [*(ScryptCost(s.n, s.r, s.p) for s in stored), *padding]
        self.computed.append(sorted(costs, key=lambda cost: cost.n))
        return check_scrypt_secrets(given, stored, padding)


def scrypt_of(text: bytes, n: int) -> ScryptSecret:
    return ScryptSecret(n, 8, 1, b"salt", hashlib.scrypt(text, salt=b"salt", n=n, r=8, p=1, dklen=32))


CLIENTS = [
    ClientSettings("quick", secrets=(Sha256Secret(b"x", hashlib.sha256(b"xs3").digest()),)),
    ClientSettings("slow", secrets=(scrypt_of(b"s3", 16),)),
    ClientSettings("slower", secrets=(scrypt_of(b"other", 16), scrypt_of(b"s3", 32))),
    ClientSettings("both", secrets=(PlainSecret(b"s3"), scrypt_of(b"s4", 16))),
    ClientSettings("bare"),
    ClientSettings("off", secrets=(PlainSecret(b"s3"),), disabled=True),
    ClientSettings("post", secrets=(PlainSecret(b"s3"),), auth_methods=frozenset({"client_secret_post"})),
]
REGISTRY = compile_registry(Settings(clients={client.id: client for client in CLIENTS}))


def presented(client_id: str, secret: bytes) -> PresentedSecret:
    return PresentedSecret("client_secret_basic", client_id, secret)


@pytest.mark.parametrize("client_id", ["quick", "slow", "slower", "both"])
async def test_the_right_secret_proves_the_client(client_id: str) -> None:
    proven = await authenticate(presented(client_id, b"s3"), REGISTRY, CountingScrypt(), peer="192.0.2.1")
    assert isinstance(proven, ProvenClient)
    assert (proven.client.id, proven.method) == (client_id, "client_secret_basic")


async def test_a_quick_secret_never_waits_for_scrypt() -> None:
    scrypt = CountingScrypt()
    await authenticate(presented("both", b"s3"), REGISTRY, scrypt, peer="192.0.2.1")
    assert scrypt.computed == []


@pytest.mark.parametrize(
    "client_id", ["nobody-knows-me", "", "quick", "slow", "slower", "both", "bare", "off", "post"]
)
async def test_every_failure_has_one_answer_and_one_cost(client_id: str) -> None:
    scrypt = CountingScrypt()
    failure = await authenticate(presented(client_id, b"wrong"), REGISTRY, scrypt, peer="192.0.2.1")
    assert isinstance(failure, AuthFailure)
    assert failure.problem.code is ErrorCode.INVALID_CLIENT
    assert failure.problem.description == "client authentication failed: unknown client or wrong secret"
    assert scrypt.computed == [[ScryptCost(16, 8, 1), ScryptCost(32, 8, 1)]]
    known = client_id in REGISTRY.clients
    assert failure.reason is (AuthReason.WRONG_SECRET if known else AuthReason.UNKNOWN_CLIENT)
    assert failure.client_id == (client_id if known else None)


async def test_only_who_proved_the_secret_learns_more() -> None:
    off = await authenticate(presented("off", b"s3"), REGISTRY, CountingScrypt(), peer="192.0.2.1")
    post = await authenticate(presented("post", b"s3"), REGISTRY, CountingScrypt(), peer="192.0.2.1")
    assert isinstance(off, AuthFailure)
    assert isinstance(post, AuthFailure)
    assert (off.reason, post.reason) == (AuthReason.DISABLED, AuthReason.METHOD_NOT_ALLOWED)
    assert "disabled" in off.problem.description
    assert "client_secret_post" in post.problem.description


def test_no_representation_shows_a_secret() -> None:
    assert "s3" not in repr(presented("x", b"s3"))
