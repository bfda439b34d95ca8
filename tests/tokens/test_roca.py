"""Recognise moduli of the broken generator, and no others."""

import math
import random

from gateway.tokens.roca import is_factorable
from tests.support.jws import make_key

PRIMES = [p for p in range(2, 168) if all(p % q for q in range(2, p))]


def test_a_power_of_the_generator_is_recognised() -> None:
    chosen = random.Random(15361)
    primorial = math.prod(PRIMES)
    for _ in range(20):
        factors = [
            chosen.getrandbits(800) * primorial + pow(65537, chosen.getrandbits(60), primorial)
            for _ in range(2)
        ]
        assert is_factorable(factors[0] * factors[1])


def test_an_honest_modulus_is_none() -> None:
    assert not is_factorable(int(make_key("RS256").jwk.get_op_key("verify").public_numbers().n))
    assert not any(is_factorable(random.Random(seed).getrandbits(2048) | 1) for seed in range(2000))
