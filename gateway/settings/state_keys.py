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
from gateway.settings.shared_kinds import FILE, Values, value_by
from gateway.settings.texts import parse_file_text, parse_redis_url

_STORES = {"memory": "memory:", "sqlite": "sqlite:state/sidegate.db", "redis": "redis://127.0.0.1:6379"}


def parse_state(text: str) -> str | RedisSettings:
    """Return an empty text for `memory:`, the path of `sqlite:PATH`, or where a Redis server is."""
    if text.startswith(("redis://", "rediss://")):
        return parse_redis_url(text)
    if text == "memory:":
        return ""
    scheme, _, path = text.partition(":")
    if scheme != "sqlite" or not path:
        raise SpellingError(
            "is not a state store",
            "memory:, sqlite:PATH, redis://HOST or rediss://HOST",
            instead=_store_in(text),
        )
    return parse_file_text(path)


def _store_in(text: str) -> str:
    """Return the store that is meant by a word or by the path of a file, or nothing."""
    if text in _STORES:
        return _STORES[text]
    if text.startswith("valkey"):
        return text.replace("valkey", "redis", 1)
    return f"sqlite:{text}" if text.endswith((".db", ".sqlite", ".sqlite3")) and ":" not in text else ""


def place_state(directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file relative to `directory`."""
    if isinstance(where, RedisSettings):
        return StateSettings(redis=where)
    return StateSettings(directory / where if where else None)


def defer_state(_directory: Path, where: str | RedisSettings) -> StateSettings:
    """Return the state store, its file as written: where data lies is known when the file is read whole."""
    return place_state(Path(), where)


def spell_state(state: StateSettings) -> str:
    """Return the state store as a URL without its password."""
    if state.redis is not None:
        return state.redis.shown_url
    return "memory:" if state.sqlite_path is None else f"sqlite:{state.sqlite_path}"


def _join_state(values: Values, node: Node, reading: Reading) -> None:
    state: StateSettings = values.pop("url")
    redis, ca_file = state.redis, values.pop("ca_file", None)
    if ca_file is not None:
        if redis is None or not redis.tls:
            reading.warn(node, "ca_file has no effect: the url is not rediss://")
        else:
            redis = replace(redis, ca_file=ca_file)
    values |= {"sqlite_path": state.sqlite_path, "redis": redis}


def _part_state(state: StateSettings) -> Values:
    return {"url": state, "ca_file": None if state.redis is None else state.redis.ca_file}


_URL = Text("state store", parse_state, defer_state, is_address=True, spell=spell_state)


STATE = Section(
    "state store",
    (
        Field(
            "url",
            _URL,
            "The store.",
            required=True,
            such_as="rediss://redis.internal",
            aliases="uri dsn address host path",
        ),
        Field(
            "consistency",
            value_by({"cached": False, "strict": True}, cached="eventual", strict="strong"),
            "When other processes know of a revocation: within a second, or before it is answered.",
            attribute="strict",
            such_as="strict",
            aliases="mode",
        ),
        Field(
            "ca_file",
            FILE,
            "Who signed the certificate of a `rediss://` server.",
            such_as="ca.pem",
            aliases="ca ca_cert cacert",
        ),
    ),
    StateSettings(),
    _join_state,
    _part_state,
)


@dataclass(frozen=True, slots=True)
class StateText(Text):
    """The state store: a URL, or a mapping that says more."""

    mapping: Section = STATE

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the store."""
        return (
            self.mapping.read(node, reading) if isinstance(node, MapNode) else Text.read(self, node, reading)
        )

    def show(self, value: StateSettings) -> Any:
        """Return the URL, as a mapping where it says not enough."""
        shown = self.mapping.show(value)
        if not value.strict and shown["ca_file"] is None:
            return shown["url"]
        return {key: member for key, member in shown.items() if member is not None}

    def schema(self) -> Schema:
        """Return a text or the mapping."""
        return any_of(Text.schema(self), self.mapping.schema())


STATE_STORE = StateText("state store", parse_state, defer_state, is_address=True, spell=spell_state)
