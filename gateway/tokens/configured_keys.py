"""Return the keys that stand in a configuration, read once.

Sources: RFC 7517 5.
"""

from gateway.settings.model import StaticKeySource
from gateway.tokens.key_sets import KeySet


def keys_of(source: StaticKeySource) -> KeySet:
    """Return the keys of a source that is part of the configuration: as they were read, or read now.

    Raises:
        KeySetError: They cannot be used, and nobody has tried before.
    """
    if isinstance(source.read, KeySet):
        return source.read
    # The loader has read them. Reading takes cryptography, and a configuration without keys does without.
    from gateway.tokens.foreign_keys import read_key_set

    return read_key_set(source.document)
