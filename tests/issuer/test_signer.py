"""Keep RSA signatures off the event loop, and bounded."""

import asyncio
import threading

from jwcrypto.jwk import JWK

from gateway.issuer.signer import MAX_WAITING, SignerOverloadedError, TokenSigner
from gateway.tokens.key_ring import SigningKey
from gateway.tokens.keys import make_signing_key


def remembering(key: SigningKey, threads: list[int]) -> SigningKey:
    def sign(signing_input: bytes) -> bytes:
        threads.append(threading.get_ident())
        return key.sign(signing_input)

    return SigningKey(key.kid, key.alg, sign, key.public_jwk)


async def test_rsa_signs_on_one_other_thread_and_the_rest_in_place() -> None:
    signer = TokenSigner()
    threads: list[int] = []
    rsa = remembering(make_signing_key(JWK.generate(kty="RSA", size=2048), "RS256"), threads)
    await asyncio.gather(*(signer.sign(rsa, {"n": n}) for n in range(3)))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads
    threads.clear()
    ec = remembering(make_signing_key(JWK.generate(kty="EC", crv="P-256"), "ES256"), threads)
    await signer.sign(ec, {})
    assert threads == [threading.get_ident()]
    signer.close()


async def test_beyond_the_queue_signatures_are_refused() -> None:
    signer = TokenSigner()
    started, go_on = threading.Event(), threading.Event()

    def sign(_: bytes) -> bytes:
        started.set()
        go_on.wait(10)
        return b"signature"

    key = SigningKey("kid", "RS256", sign, {})
    tasks = [asyncio.create_task(signer.sign(key, {})) for _ in range(MAX_WAITING + 1)]
    await asyncio.to_thread(started.wait, 10)
    go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(o) for o in outcomes].count(SignerOverloadedError) == 1
    assert isinstance(outcomes[-1], SignerOverloadedError)
    signer.close()
