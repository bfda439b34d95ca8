"""Read, show and describe stored secrets, and public keys of others.

What kinds are is told in `gateway.settings.reading`. What was written as a secret is never repeated,
and only its form is shown.
"""

import json
from dataclasses import dataclass
from typing import Any

from gateway.settings.document import Node, ScalarNode
from gateway.settings.environment import Unexpanded
from gateway.settings.kinds import Json, Text
from gateway.settings.model import PlainSecret, ScryptSecret, Secret, Sha256Secret, StaticKeySource
from gateway.settings.problems import SpellingError
from gateway.settings.reading import FROM_ENVIRONMENT, UNREAD, Reading, Schema, any_of
from gateway.settings.scalars import resolve_plain
from gateway.settings.secret_texts import (
    SHORTEST_SECRET,
    UNUSABLE_SECRET,
    parse_hashed_secret,
    without_line_break,
)
from gateway.settings.texts import VARIABLE, parse_file_text
from gateway.tokens.configured_keys import keys_of
from gateway.tokens.key_sets import KeySetError

MASK = "********"
"""In place of what a secret holds."""

_KNOWN_FORMS = "sha256:SALT:HEX, scrypt:N:R:P:SALT:HASH, env:NAME, file:PATH or plain:TEXT"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SecretText:
    """One client secret in any of its stored forms. What was written is never repeated in a message."""

    label: str = "stored secret"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the secret; `env:` and `file:` are resolved now."""
        if not isinstance(node, ScalarNode) or (node.plain and not isinstance(resolve_plain(node.text), str)):
            reading.mismatch(node, self.label, _KNOWN_FORMS)
            return UNREAD
        try:
            secret = _read_secret(node, reading)
        except SpellingError as reason:
            reading.error(node, f"the secret {reason.message}", reason.hint)
            return PlainSecret(b"", "unreadable")  # so that nobody complains that there is no secret
        if isinstance(secret, PlainSecret):
            _note_weakness(secret, node, reading)
        elif node.text == UNUSABLE_SECRET:
            reading.warn(node, "nobody can use this secret", "`sidegate secret generate` prints a real one")
        return secret

    def show(self, value: Secret) -> str:
        """Return the form of the secret without what it holds."""
        match value:
            case Sha256Secret():
                return f"sha256:{MASK}"
            case ScryptSecret(n, r, p):
                return f"scrypt:{n}:{r}:{p}:{MASK}"
            case PlainSecret(source=source):
                return f"{source}:{MASK}"

    def schema(self) -> Schema:
        """Return a text with one of the schemes."""
        stored = {
            "type": "string",
            "pattern": "^(?:sha256|scrypt|env|file|plain):",
            "description": _KNOWN_FORMS,
        }
        return any_of(stored, FROM_ENVIRONMENT)

    def example(self) -> str:
        """Return the form that keeps the secret out of the file."""
        return "env:REPORTING_SECRET"


def _note_weakness(secret: PlainSecret, node: Node, reading: Reading) -> None:
    """Note that a secret can be read, guessed, or hardly be sent as it is stored."""
    too_short = len(secret.value.decode(errors="replace")) < SHORTEST_SECRET
    if secret.source == "plain":
        also = f", and has fewer than {SHORTEST_SECRET} characters" if too_short else ""
        reading.warn(
            node, f"the secret is readable in this file{also}", "use sha256:, scrypt:, env: or file:"
        )
        return
    if too_short:
        reading.warn(
            node,
            f"the secret has fewer than {SHORTEST_SECRET} characters: it can be guessed",
            "`sidegate secret generate` prints a strong one",
        )
    if secret.value != secret.value.strip():
        reading.warn(
            node,
            "the secret begins or ends with white space",
            "one line break at the end is dropped, all else is part of the secret; store it without",
        )


def _read_secret(node: ScalarNode, reading: Reading) -> Secret:
    text = node.text
    scheme, _, rest = text.partition(":")
    match scheme:
        case "sha256" | "scrypt":
            return parse_hashed_secret(text)
        case "plain":
            value = rest.encode()
        case "env":
            if text != node.written or not VARIABLE.match(rest):
                # It may be a secret, written where its name belongs; it is not repeated.
                raise SpellingError("names no environment variable", "env:NAME")
            variable = reading.environment.find(rest)
            if isinstance(variable, Unexpanded):
                raise SpellingError(f"cannot be read: {variable.message}", variable.hint)
            if variable is None:
                raise SpellingError(f"cannot be read: the environment variable {rest} is not set")
            value = without_line_break(variable.encode())
        case "file":
            if not rest or not rest.isprintable():
                raise SpellingError("names no file", "file:PATH")
            value = reading.read_secret(reading.directory / rest)
        case _:
            raise SpellingError("has none of the known forms", _KNOWN_FORMS)
    if not value:
        raise SpellingError("is empty")
    return PlainSecret(value, scheme)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InlineKeys:
    """A JWK Set written as YAML; one without keys is None."""

    label: str = "key set"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the keys, which are tried now."""
        if isinstance(node, ScalarNode):
            hint = "jwks_uri takes the address of one, jwks_file the path of a file"
            reading.error(node, "the key set is not a JSON object", hint, wants_example=True)
            return UNREAD
        document = Json().read(node, reading)
        if document is UNREAD or document == {"keys": []}:
            return UNREAD if document is UNREAD else None
        return _read_keys(json.dumps(document).encode(), node, reading)

    def show(self, value: StaticKeySource) -> dict[str, Any]:
        """Return the keys that are used, made of what was read of them: their public members.

        What was passed over, private and symmetric keys among it, is not shown.
        """
        return _public_keys(value)

    def schema(self) -> Schema:
        """Return a JWK Set, or a single JWK."""
        return {
            "type": "object",
            "anyOf": [{"required": ["keys"]}, {"required": ["kty"]}],
            "properties": {"keys": {"type": "array"}},
        }

    def example(self) -> str:
        """Return a set with the key of RFC 8037 A.2."""
        return "{keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}"


def _parse_key_file(text: str) -> str:
    if "://" in text:
        raise SpellingError("is an address, not a path", "an address is given by jwks_uri", is_remedy=True)
    return parse_file_text(text)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KeyFile:
    """The path of a file with a JWK Set."""

    label: str = "path"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the keys in the file, which are tried now."""
        path = Text(self.label, _parse_key_file).read(node, reading)
        if path is UNREAD:
            return UNREAD
        try:
            content = reading.read_keys(reading.directory / path)
        except SpellingError as reason:
            assert isinstance(node, ScalarNode)
            problem = SpellingError(f"cannot be used: {reason.message}", reason.hint)
            reading.refuse(node, problem, wants_example=False)
            return UNREAD
        return _read_keys(content, node, reading)

    def show(self, value: StaticKeySource) -> dict[str, Any]:
        """Return the keys as `InlineKeys` does: settings hold what was read, not where."""
        return _public_keys(value)

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}

    def example(self) -> str:
        """Return the name of a file, which must be there."""
        return "reporting.jwks"


def _public_keys(source: StaticKeySource) -> dict[str, Any]:
    shown = []
    for entry in keys_of(source).keys:
        members = dict(entry.key.public_jwk)
        named = {} if entry.kid is None else {"kid": entry.kid}
        shown.append({name: value for name, value in members.items() if name != "kid"} | named)
    return {"keys": shown}


def _read_keys(document: bytes, node: Node, reading: Reading) -> Any:
    # Few configurations hold keys; the others do without the library of cryptography that reads them.
    from gateway.tokens.foreign_keys import read_key_set

    try:
        keys = read_key_set(document)
    except KeySetError as reason:
        reading.error(node, f"the key set {reason}", "a JWK Set of public keys: {keys: [{kty: EC, …}]}")
        return UNREAD
    for unused in (*keys.left_out, *keys.passed_over):
        reading.warn(node, f"a key is not used: {unused}")
    return StaticKeySource(document, keys)
