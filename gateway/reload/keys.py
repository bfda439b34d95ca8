"""The signing keys as a source of their own: a new key, or one that was deleted, recompiles nothing.

What the key directory means (`gateway.tokens.keyfiles.follow_keys`): keys that are there are
used; none in the directory that it was means no keys, for whoever deletes a leaked key means it; a
directory that is gone, unreadable, or replaced by an empty one says nothing, and the keys stay.
"""

from math import inf
from pathlib import Path

from gateway.reload.apply import Live
from gateway.reload.aside import OneThread
from gateway.reload.key_directory import SETTING, key_warnings
from gateway.reload.plan import plan_keys
from gateway.reload.source import Outcome, Result, failed
from gateway.tokens.keyfiles import (
    KeyDirectoryError,
    KeyInfo,
    LoadedKeys,
    follow_keys,
)


class KeySource:
    """The key directory.

    Args:
        file: The main file, for problems.
        live: Where the keys are swapped in.
    """

    name = "keys"
    since = inf  # the first start has just made a key in it

    def __init__(self, file: Path, live: Live) -> None:
        self._file = file
        self._live = live
        self._thread = OneThread()

    def watched(self) -> tuple[Path, ...]:
        """Return the key directory of the configuration in force."""
        return (self._live.plan.snapshot.settings.keys.directory,)

    async def load(self, *, dry_run: bool) -> Outcome:
        """Use the keys that are there now, unless it is a dry run."""
        plan = self._live.plan
        settings, former = plan.snapshot.settings, plan.snapshot.keys
        directory, algorithm = settings.keys.directory, settings.issuer.signing_algorithm
        try:
            keys = await self._thread.run(lambda: follow_keys(directory, algorithm, former))
        except KeyDirectoryError as error:
            return failed(self._file, str(error), Result.INVALID, path=SETTING)
        changes = _describe_changes(former.keys, keys.keys)
        if changes and not dry_run:
            self._live.apply(plan_keys(plan, keys, self._live.parts))
        return Outcome(
            problems=key_warnings(self._file, keys),
            changes=changes,
            swapped=bool(changes),
            former=_active(former),
            current=_active(keys),
        )


def _active(keys: LoadedKeys) -> str:
    return "" if keys.ring.active is None else keys.ring.active.kid


def _describe_changes(former: tuple[KeyInfo, ...], fresh: tuple[KeyInfo, ...]) -> tuple[str, ...]:
    before = {key.kid: f"{key.alg}, {key.state}" for key in former}
    after = {key.kid: f"{key.alg}, {key.state}" for key in fresh}
    return (
        *(f"key {kid} added: {state}" for kid, state in after.items() if kid not in before),
        *(f"key {kid} removed" for kid in before if kid not in after),
        *(
            f"key {kid}: {state} (before: {before[kid]})"
            for kid, state in after.items()
            if before.get(kid, state) != state
        ),
    )
