"""List every key of the configuration: its kind, default, meaning, availability.

The loader reads by this table and `docs/configuration.md` is rendered from it, so a key that is not
here does not exist. Its parts are split by who writes them: what the operator says of the process is
in `process_keys`, who may call what in `policy_keys`. Beside the keys of each section stands what makes
settings of their values. A value that was unreadable is absent there; its default, or an empty text
where there is none, stands in, so that the other checks can go on.

A key of the contract that has no effect yet is here with `available=False`; deleting that argument (and
giving the model a place for the value) makes it work. Defaults are written as YAML for the reader; the
real ones are those of `gateway.settings.model`, and a test holds the two together.

Sources: CONTRACT section 2.
"""

from gateway.settings.kinds import Whole
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.process_keys import PROCESS_FIELDS
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import keep_values

VERSION_FIELD = Field("version", Whole(1, 1), "The version of this format.", "1")

MAIN_FILE = Section("configuration", (VERSION_FIELD, *PROCESS_FIELDS, *POLICY_FIELDS), keep_values)

POLICY_FILE = Section(
    "policy file",
    (VERSION_FIELD, *POLICY_FIELDS),
    keep_values,
    foreign=frozenset(item.key for item in PROCESS_FIELDS),
)
