"""Put together the JSON Schema of the configuration's files from the table of keys.

Each kind describes itself (`gateway.settings.reading`). Here sections get names, so that one is
looked at at a time, and the whole gets its head. There are two schemas, because editors hold a
file to one: in the main file every key is right, in a policy file those of the policy only.

A schema knows shapes: keys, types, bounds, words. What a name leads to, whether a path can be
read and how a text is spelled is known to `sidegate check`. Whatever the loader reads without
an error is valid.

Sources: JSON Schema draft 2020-12 (core 8.2.4).
"""

import json

from gateway.settings.fields import MAIN_FILE, POLICY_FILE
from gateway.settings.reading import Schema
from gateway.settings.sections import Section

MAIN_SCHEMA_FILE = "sidegate.schema.json"
POLICY_SCHEMA_FILE = "sidegate-policy.schema.json"
"""Where the files of a configuration name their schemas: beside the main file."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {
    "description": "A value from the environment: `${NAME}`, or `${NAME:-default}`.",
    "type": "string",
    "pattern": r"^(?:[^$]|\$(?!\$?\{)|\$\$\{)*\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^{}]*)?\}",
}
"""A text that `gateway.settings.environment` expands, up to its first reference: `$${` is none. Its type
is that of what comes out."""


def main_schema() -> Schema:
    """Return the schema of the main file."""
    return _whole(MAIN_FILE, "Sidegate: gateway.yaml", "How the process runs. It may hold the policy, too.")


def policy_schema() -> Schema:
    """Return the schema of policy files."""
    return _whole(POLICY_FILE, "Sidegate: a policy file", "Who may call what.")


def schema_files() -> dict[str, str]:
    """Return both schemas as text by the names of their files."""
    return {
        MAIN_SCHEMA_FILE: spell_schema(main_schema()),
        POLICY_SCHEMA_FILE: spell_schema(policy_schema()),
    }


def spell_schema(schema: Schema) -> str:
    """Return a schema as text for a file of its own."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _whole(section: Section, title: str, description: str) -> Schema:
    sections: dict[str, Schema] = {}
    root = _name_sections(section.schema(), "", sections)
    return {
        "$schema": _DIALECT,
        "title": title,
        "description": description,
        **root,
        "$defs": {"environment": _REFERENCE, **dict(sorted(sections.items()))},
    }


def _name_sections(shape: Schema, path: str, sections: dict[str, Schema]) -> Schema:
    """Return a schema with references to the sections below it, which are put to the others.

    Each is named by the keys that lead to it, as in the reference: `upstreams.queue`.
    """
    named: Schema = {}
    for keyword, part in shape.items():
        if keyword == "properties":
            named[keyword] = {
                key: _name_sections(below, f"{path}.{key}" if path else key, sections)
                for key, below in part.items()
            }
        elif isinstance(part, dict) and keyword in ("items", "additionalProperties"):
            named[keyword] = _name_sections(part, path, sections)
        elif keyword == "anyOf":
            named[keyword] = [_name_sections(choice, path, sections) for choice in part]
        else:
            named[keyword] = part
    if not path or named.get("additionalProperties") is not False:
        return named
    about: Schema = {
        word: named.pop(word) for word in ("description", "default", "examples") if word in named
    }
    assert sections.setdefault(path, named) is named, path
    return {"$ref": f"#/$defs/{path}", **about}
