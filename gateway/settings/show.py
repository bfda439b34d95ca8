"""Show the effective configuration as YAML in the contract's words, secrets masked.

A walk over the table of keys: each kind shows what it would read. What comes out loads again as
the same configuration, save for the secrets: every process key is written with its value, every
policy entry with what is set.
"""

from typing import Any

from gateway.settings.environment import escape
from gateway.settings.fields import MAIN_FILE
from gateway.settings.model import Settings
from gateway.settings.yaml_text import spell_document


def effective(settings: Settings) -> str:
    """Return the whole configuration as YAML text; no secret is in it."""
    return spell_document(_escape(MAIN_FILE.show(settings)))


def _escape(shown: Any) -> Any:
    """Return data in which no text refers to the environment. Keys never do."""
    match shown:
        case str():
            return escape(shown)
        case list():
            return [_escape(item) for item in shown]
        case dict():
            return {key: _escape(member) for key, member in shown.items()}
    return shown
