"""List the keys of the state store, and make settings of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.settings.document import MapNode, Node
from gateway.settings.kinds import Text
from gateway.settings.model import RedisSettings, StateSettings
from gateway.settings.problems import SpellingError
from gateway.settings.reading import Reading, Schema, any_of
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import FILE, Values, one_of
from gateway.settings.texts import parse_file_text, parse_redis_url


def parse_state(text: str) -> str | RedisSettings:
    """Return an empty text for `memory:`, the path of `sqlite:PATH`, or where a Redis server is."""
    if text.startswith(("redis://", "rediss://")):
        return parse_redis_url(text)
    if text == "memory:":
        return ""
    scheme, _, path = text.partition(":")
    if scheme != "sqlite" or not path:
        raise SpellingError("is not a state store", "memory:, sqlite:PATH, redis://HOST or rediss://HOST")
    return parse_file_text(path)


def place_state(directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file relative to `directory`."""
    if isinstance(where, RedisSettings):
        return StateSettings(redis=where)
    return StateSettings(directory / where if where else None)


def defer_state(_directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file as written: where data lies is known when the file is read whole."""
    return place_state(Path(), where)


def make_state(values: Values, node: Node, reading: Reading) -> StateSettings:
    """Return the state store of the mapping form."""
    state: StateSettings = values.get("url", StateSettings())
    ca_file = values.get("ca_file")
    if ca_file is not None:
        if state.redis is None or not state.redis.tls:
            reading.warn(node, "ca_file has no effect: the url is not rediss://")
        else:
            state = replace(state, redis=replace(state.redis, ca_file=ca_file))
    return replace(state, strict=values.get("consistency") == "strict")


STATE = Section(
    "state store",
    (
        Field(
            "url",
            Text("state store", parse_state, defer_state, is_address=True),
            "The store.",
            required=True,
        ),
        Field(
            "consistency",
            one_of("cached", "strict"),
            "When other processes know of a revocation: within a second, or before it is answered.",
            "cached",
        ),
        Field("ca_file", FILE, "Who signed the certificate of a `rediss://` server.", "null"),
    ),
    make_state,
)


@dataclass(frozen=True, slots=True)
class StateText(Text):
    """The state store: a URL, or a mapping that says more."""

    mapping: Section | None = None

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the store."""
        if isinstance(node, MapNode) and self.mapping is not None:
            return self.mapping.read(node, reading)
        return Text.read(self, node, reading)

    def schema(self) -> Schema:
        """Return a text or the mapping."""
        text = Text.schema(self)
        return text if self.mapping is None else any_of(text, self.mapping.schema())
