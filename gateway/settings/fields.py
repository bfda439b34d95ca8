"""List every key of the configuration: its kind, default, meaning, availability.

The loader reads by this table; `config show`, `sidegate schema` and `docs/configuration.md` are walks
over it, so a key that is not here does not exist. Its parts are split by who writes them: what the
operator says of the process is in `process_keys`, who may call what in `policy_keys`. A row is a key,
and its kind reads, shows and describes the value.

What a key is when it is left out is said once, by the settings themselves (`gateway.settings.model`):
each section has them blank. What is only known to the table, as it stands for nothing in settings, is
written in the row as `default_text`. Where keys are not the attributes of settings one by one, `join`
makes these of them, and `part`, beside it, the keys of these.

A key of the contract that has no effect yet is here with `available=False`.

Sources: CONTRACT section 2.
"""

from typing import Any

from gateway.settings.kinds import Whole
from gateway.settings.model import Settings
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.process_keys import PROCESS_FIELDS
from gateway.settings.sections import Field, Section

_VERSION = Field("version", Whole(1, 1), "The version of this format.")


def _part_file(settings: Settings) -> dict[str, Any]:
    # What the policy files say is shown as if it stood in the main file.
    return {"version": 1, "policies": ()}


MAIN_FILE = Section(
    "configuration",
    (_VERSION, *PROCESS_FIELDS, *POLICY_FIELDS),
    Settings(),
    part=_part_file,
    is_merged=True,
)

POLICY_FILE = Section(
    "policy file",
    (_VERSION, *POLICY_FIELDS),
    Settings(),
    part=_part_file,
    is_merged=True,
    foreign=frozenset(item.key for item in PROCESS_FIELDS),
)
