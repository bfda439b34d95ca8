"""Spell plain values as YAML that is read back as the same.

What YAML 1.2 would not take for text is put in quotes, and so is what many readers of YAML 1.1
would not. Reading is `gateway.settings.document`.
"""

from typing import Any

import yaml

from gateway.settings.scalars import resolve_plain


def spell_document(value: Any) -> str:
    """Return a value as a document, each member on a line of its own."""
    return _spell(value, width=100, default_flow_style=False)


def spell_line(value: Any) -> str:
    """Return a value on one line, without a line break."""
    return _spell(value, width=float("inf"), default_flow_style=True).removesuffix("\n...\n").rstrip("\n")


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.2 reads it back as text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out instead of pointing from one to the other."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quoted = not isinstance(resolve_plain(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_text)


def _spell(value: Any, **style: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)
    return text
