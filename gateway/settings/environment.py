"""Replace `${NAME}` and `${NAME:-default}` in a scalar by environment values, once.

What comes out is never expanded again, so a value cannot smuggle in a reference;
`$${` is a literal `${`. Defaults do not nest: one that holds `{` would end at the first
`}`, and `${A:-${B}}` as a secret would be a constant that stands in the file. Which
names may be used is the caller's: gateway.yaml may use any, a policy file only those of
`policy_environment`.

Sources: CONTRACT section 2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$(?P<literal>\$\{)|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:-[^}]*)?\})?")


@dataclass(frozen=True, slots=True)
class Unexpanded:
    """Why a scalar could not be expanded. Names variables, never their values."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that one file may use; `allowed` None means all of them."""

    variables: Mapping[str, str]
    allowed: frozenset[str] | None = None

    def find(self, name: str) -> str | Unexpanded | None:
        """Return the value of a variable, None when it is not set, or why it may not be used."""
        if self.allowed is not None and name not in self.allowed:
            return Unexpanded(
                f"the environment variable {name} may not be used in a policy file",
                f"add {name} to policy_environment in the main file",
            )
        value = self.variables.get(name)
        if value is not None and not value.isprintable() and _has_surrogate(value):
            return Unexpanded(f"the environment variable {name} is not UTF-8 text", "")
        return value

    def expand(self, text: str) -> str | Unexpanded:
        """Return the text with every reference replaced, or the first reason why it cannot be.

        A default stands in for a variable that is unset or empty; it ends at the
        next `}` and is taken as it is. One that holds `{` is refused, whether it is needed or not.
        """
        pieces: list[str] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            pieces.append(text[end : match.start()])
            end = match.end()
            if match["literal"]:
                pieces.append("${")
                continue
            name, default = match["name"], match["rest"]
            if name is None:
                return Unexpanded(
                    "${ does not begin a reference",
                    "write ${NAME}, ${NAME:-default}, or $${ for a literal ${",
                )
            value = self.find(name)
            if isinstance(value, Unexpanded):
                return value
            if default is not None and "{" in default:
                return Unexpanded(
                    f"the default of {name} holds {{, and defaults do not nest",
                    f"set {name}, or name one variable with a default of plain text: ${{{name}:-text}}",
                )
            if not value and default is not None:
                value = default[2:]
            if value is None:
                return Unexpanded(
                    f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}"
                )
            pieces.append(value)
        pieces.append(text[end:])
        return "".join(pieces)


def escape(text: str) -> str:
    """Return what expands to the text, whatever the environment is."""
    return text.replace("${", "$${")


def _has_surrogate(value: str) -> bool:
    """Return whether the text holds bytes that were not UTF-8 in the process environment."""
    return any("\ud800" <= char <= "\udfff" for char in value)
