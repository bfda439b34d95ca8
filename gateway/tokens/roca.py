"""Recognise RSA keys of a generator whose keys can be factored (ROCA, CVE-2017-15361).

Infineon's library made primes that are powers of 65537 modulo a product of small
primes, so the modulus is one as well, modulo each of them. An honest modulus has that
property with a chance of about 2^-27. Such keys lie in smart cards and TPMs that sign
for people and machines to this day. Pure.

Sources: Nemec et al., "The Return of Coppersmith's Attack" (CCS 2017), 3.
"""

_GENERATOR = 65537
_PRIMES = (
    *(11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89),
    *(97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
)


def is_factorable(modulus: int) -> bool:
    """Return whether an RSA modulus comes from the broken generator."""
    return all(_is_power(modulus % prime, prime) for prime in _PRIMES)


def _is_power(residue: int, prime: int) -> bool:
    """Return whether `residue` is a power of the generator modulo `prime`."""
    power = 1
    for _ in range(prime - 1):
        if power == residue:
            return True
        power = power * _GENERATOR % prime
    return False
