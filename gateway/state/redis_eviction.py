"""Ask a Redis server whether it may throw away what it was given.

A server with a memory limit and another policy than `noeviction` deletes keys to make
room: a deleted revocation is a live token, a deleted use counts again. Managed servers
often refuse `CONFIG`, fewer refuse `INFO`; where both are refused it is not known.

Sources: redis.io/docs/latest/develop/reference/eviction.
"""

from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import ResponseError

_SAFE = "noeviction"
_UNKNOWN = (
    "it is unknown whether it may evict what was revoked or used, for it refuses CONFIG GET and INFO:"
    f" see to it that its maxmemory-policy is {_SAFE}"
)


@dataclass(frozen=True, slots=True)
class Eviction:
    """What a server says of it."""

    policy: str | None
    """Its `maxmemory-policy`; None when it does not say."""
    limit_bytes: int = 0
    """Its `maxmemory`; 0 for none."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return what an operator should look at, in sentences; empty for nothing."""
        if self.policy is None:
            return (_UNKNOWN,)
        if self.policy == _SAFE:
            return ()
        when = "when it is full" if self.limit_bytes else "as soon as a maxmemory is set"
        what = f"it may evict what was revoked or used, {when}: its maxmemory-policy is {self.policy}"
        return (f"{what}; set {_SAFE}",)


async def ask_eviction(server: Redis) -> Eviction:
    """Return what the server says; raises `RedisError` when it does not answer at all."""
    for ask in (_by_config, _by_info):
        try:
            found = await ask(server)
        except ResponseError:
            continue
        if found.policy is not None:
            return found
    return Eviction(None)


async def _by_config(server: Redis) -> Eviction:
    found = await server.config_get("maxmemory*")
    return Eviction(found.get("maxmemory-policy"), int(found.get("maxmemory", 0)))


async def _by_info(server: Redis) -> Eviction:
    found = await server.info("memory")
    return Eviction(found.get("maxmemory_policy"), int(found.get("maxmemory", 0)))
