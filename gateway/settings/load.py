"""Load a configuration: files to one `Settings`, or every problem at once.

Shell: reads files and the clock. The way of a file is text -> positioned nodes
(`document`) -> values by the table of keys (`fields`, `kinds`) ->
checks across all files (`checks`) -> a `Draft`, to which layers above add what they
find before it is finished. Nothing is cached, so the same files give the same result.
Meant to run in a thread beside a live event loop: no long call holds the interpreter,
and the garbage collector pauses (it would walk half a million fresh nodes again and
again: 56 ms instead of 784 ms of longest stall).
"""

import gc
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.settings.checks import check_policy, check_process
from gateway.settings.document import (
    Document,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    read_document,
    step_path,
    walk,
)
from gateway.settings.doubts import Doubts
from gateway.settings.environment import Environment
from gateway.settings.exposed_files import check_exposed_files, who_else_may_write
from gateway.settings.exposure import check_exposure
from gateway.settings.fields import MAIN_FILE, POLICY_FILE
from gateway.settings.files import MOST_FILES, SourceFiles
from gateway.settings.findings import Finding, Step
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    Origin,
    PolicyTest,
    RouteSettings,
    Settings,
)
from gateway.settings.moved_keys import note_moved_tokens
from gateway.settings.patterns import PatternError, find_neighbours
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.private_files import PolicyReach, PrivateFiles, allow_any_place
from gateway.settings.problems import (
    MOST_PROBLEMS,
    Problem,
    SettingsError,
    Severity,
    SpellingError,
    join_hints,
    leave_out_beyond,
)
from gateway.settings.quoting import quote
from gateway.settings.reading import Reading, is_null
from gateway.settings.texts import parse_file_text
from gateway.settings.told_claims import check_told_claims
from gateway.settings.unknown_keys import KeyFinder

DATA_VARIABLE = "SIDEGATE_DATA"
_POLICY_KEYS = tuple(item.key for item in POLICY_FIELDS)
_DEFAULT_POLICIES = next(item.default_value for item in MAIN_FILE.fields if item.key == "policies")
_NAMED_BY_POLICIES = ("bearer_token_files", "key_set_proxies")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without errors, and the doubts that came up."""

    settings: Settings
    warnings: tuple[Problem, ...] = ()
    patterns: frozenset[str] = frozenset()
    """Those of `policies` that match files."""


@contextmanager
def open_draft(
    path: Path,
    *,
    environ: Mapping[str, str],
    now: float | None = None,
    former_patterns: frozenset[str] = frozenset(),
) -> Iterator["Draft"]:
    """Read the configuration that begins at `path`, and check what the files alone can tell.

    Args:
        path: The main file. Problems name it as given here.
        environ: The environment for `${NAME}` and `env:` secrets.
        now: Epoch seconds that `until` is judged by; None means the clock.
        former_patterns: Patterns that matched files when the configuration in force was loaded. One
            that matches none now is an error: its directory is away, or somebody is just moving it.

    Raises:
        SettingsError: The main file cannot be read, or is empty.
    """
    collecting = gc.isenabled()
    gc.disable()
    draft = Draft(path, environ, time.time() if now is None else now, former_patterns)
    try:
        draft.read()
        yield draft
    finally:
        draft.release()
        if collecting:
            gc.enable()


def load(
    path: Path,
    *,
    environ: Mapping[str, str],
    now: float | None = None,
    former_patterns: frozenset[str] = frozenset(),
) -> Loaded:
    """Return the configuration that begins at `path`; the arguments are those of `open_draft`.

    Raises:
        SettingsError: With every error and warning, in file order, when there is an error.
    """
    with open_draft(path, environ=environ, now=now, former_patterns=former_patterns) as draft:
        return draft.finish()


@dataclass(slots=True)
class _Source:
    """One file: what was read, and what was noted while reading it."""

    reading: Reading
    document: Document
    path: Path
    problems: list[Problem] = field(default_factory=list)
    entries: dict[tuple[int, int], tuple[Node, Node]] = field(default_factory=dict)
    """The entries of the policy sections by position; filled when first wanted."""

    @property
    def file(self) -> str:
        return self.reading.file

    def note(self, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        """Add a problem of the file as a whole."""
        self.problems.append(Problem(self.file, 1, 1, "", message, hint, severity))

    def entry(self, origin: Origin | None) -> tuple[Node, Node]:
        """Return the key (or itself) and the value of a client, authorization, route or test.

        The root stands in where nothing was written at that place, and for None.
        """
        root = self.document.root
        assert root is not None
        if not self.entries and isinstance(root, MapNode):
            self.entries.update(_find_entries(root))
        return self.entries.get((origin.line, origin.column), (root, root)) if origin else (root, root)

    def all_problems(self) -> list[Problem]:
        """Return what was noted, each with its dotted path, by position."""
        problems = list(self.problems)
        problems += [
            Problem(self.file, fault.line, fault.column, fault.path, fault.message, fault.hint)
            for fault in self.document.faults
        ]
        if self.reading.notes and self.document.root is not None:
            wanted = {id(note.node) for note in self.reading.notes}
            paths: dict[int, str] = {}
            for node, path in walk(self.document.root):
                if id(node) in wanted:
                    paths.setdefault(id(node), path)
            # A value that could not be expanded, or has a wrong tag, is not said to be wrong otherwise.
            at_fault = {(fault.line, fault.column) for fault in self.document.faults}
            for note in self.reading.notes:
                if (note.node.line, note.node.column) in at_fault and isinstance(note.node, ScalarNode):
                    continue
                path = paths[id(note.node)]
                path = step_path(path, note.below) if note.below else path
                at = note.node
                problems.append(
                    Problem(self.file, at.line, at.column, path, note.message, note.hint, note.severity)
                )
        return sorted(problems, key=lambda problem: (problem.line, problem.column))


class Draft:
    """A configuration that was read and is not accepted yet: its values, and what is wrong so far."""

    settings: Settings
    """Whole, with a default in place of each mistake."""
    sound: Settings
    """The same without the routes that could not be read whole: a default there would lead astray."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], now: float, former_patterns: frozenset[str]
    ) -> None:
        self._path = path
        self._directory = path.absolute().parent
        self._environ = environ
        self._now = now
        self._former_patterns = former_patterns
        self._patterns: set[str] = set()
        self._files = SourceFiles()
        self._sources: list[_Source] = []
        self._by_file: dict[str, _Source] = {}
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._policy_keys = KeyFinder(POLICY_FILE, (MAIN_FILE, "main file"))
        self._unread: set[str] = set()
        """The sections that some file has and that could not be read."""
        self._complete = True
        """False when a file could not be read: names that seem to lead nowhere may be in it."""

    def read(self) -> None:
        """Read all files; raises SettingsError when the main one says nothing."""
        main = self._read(self._path, str(self._path), Environment(self._environ), None)
        root = main.document.root
        if root is None or (is_null(root) and not main.problems):
            if not main.document.faults and not main.problems:
                main.note("the file is empty", "`sidegate init` writes one to begin with")
            raise SettingsError(self._problems(), self._files.watched)
        process, policy = _apart(root)
        values = MAIN_FILE.read_members(process, main.reading)
        main.reading.add_example("version: 1", since=0)  # where the file is no mapping
        main.reading.entries = self._entries = {key: values.get(key, {}) for key in _NAMED_BY_POLICIES}
        self._note_unread(process, values)
        parts = [{} if policy is None else self._read_policy_sections(policy, main.reading)]
        environment = Environment(self._environ, frozenset(values.get("policy_environment", ())))
        secrets = values.setdefault("secrets_directory", self._directory / Settings().secrets_directory)
        values.setdefault("data_directory", self._default_data_directory())
        private = PrivateFiles(self._path, values)
        reach = PolicyReach(secrets, private)
        values.pop("version", None)
        for path, shown in self._policy_files(main, values.pop("policies", _DEFAULT_POLICIES)):
            parts.append(self._read_policy(path, shown, environment, reach))
        readings = [source.reading for source in self._sources]
        note_moved_tokens(readings, self._path.name, self._directory, private.holds_own)
        self.settings = settings = self._assemble(values, parts)
        self.sound = replace(settings, routes=self._routes_read_whole(settings.routes))
        self._check(settings)
        self._check_exposure(settings, private)

    def add(self, findings: Iterable[Finding]) -> None:
        """Put what was found to the places that it is about."""
        for finding in findings:
            self._note(finding)

    def finish(self) -> Loaded:
        """Return the configuration. Raises SettingsError with every problem when one is an error."""
        problems = self._problems()
        if any(problem.severity is Severity.ERROR for problem in problems):
            raise SettingsError(problems, self._files.watched)
        return Loaded(self.settings, problems, frozenset(self._patterns))

    def release(self) -> None:
        """Let go of the nodes entry by entry: all at once would hold the interpreter for 100 ms."""
        for source in self._sources:
            source.entries.clear()
            source.reading.notes.clear()
            root, source.document.root = source.document.root, None
            for _, section in root.members.values() if isinstance(root, MapNode) else ():
                if isinstance(section, MapNode):
                    while section.members:
                        section.members.popitem()
                elif isinstance(section, ListNode):
                    while section.items:
                        section.items.pop()

    # --- reading files

    def _read(self, path: Path, shown: str, environment: Environment, reach: PolicyReach | None) -> _Source:
        check_public = allow_any_place if reach is None else reach.check_public
        check_secret = allow_any_place if reach is None else reach.check_secret
        reading = Reading(
            shown,
            path.absolute().parent,
            environment,
            partial(self._files.read_secret, check=check_secret),
            partial(self._files.read_keys, check=check_public),
            check_public,
            self._entries,
            find_key=KeyFinder(MAIN_FILE).find if reach is None else self._policy_keys.find,
        )
        source = _Source(reading, Document(whole=False), path)
        self._sources.append(source)
        self._by_file[shown] = source
        try:
            check_public(path)
            text = self._files.read_text(path)
        except SpellingError as reason:
            source.note(reason.message, reason.hint)
        else:
            source.document = read_document(text, environment.expand)
        if not source.document.whole:
            self._complete = False
        return source

    def _policy_files(self, main: _Source, patterns: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
        """Yield each policy file once, with its name for messages."""
        seen = {os.path.realpath(self._path)}
        neighbours: dict[Path, None] = {}
        for pattern in patterns:
            for path in self._find(main, pattern):
                real = os.path.realpath(path)
                if real in seen:
                    continue
                seen.add(real)
                if len(seen) > MOST_FILES:
                    main.note(f"there are more than {MOST_FILES} policy files")
                    return
                yield path, self._shown(path)
            with suppress(PatternError):
                neighbours |= dict.fromkeys(find_neighbours(self._directory, pattern))
        for path in neighbours:
            if os.path.realpath(path) not in seen:
                main.note(
                    f"{self._shown(path)} lies beside policy files, and no pattern of `policies` takes it",
                    "rename it, move it away, or add it to `policies`",
                    Severity.WARNING,
                )

    def _shown(self, path: Path) -> str:
        return _on_one_line(str(self._path.parent / os.path.relpath(path, self._directory)))

    def _find(self, main: _Source, pattern: str) -> list[Path]:
        """Return the files of one pattern of `policies`; note what is wrong with it at its place."""
        root = main.document.root
        is_written = isinstance(root, MapNode) and "policies" in root.members
        try:
            found = self._files.find(self._directory, pattern)
            if found:
                self._patterns.add(pattern)
                return found
            reason, hint = "matches no file", "correct it, or remove it; policies: [] for none"
            if pattern in self._former_patterns:
                reason = "matches no file any more"
                hint = "put the files back; to give them up, take the pattern out of `policies`"
            elif not is_written:
                directory = (self._directory / pattern).parent
                if not os.path.lexists(directory):
                    return []
                hint = f"put a policy into {directory.name}, remove the directory, or write policies: []"
        except SpellingError as problem:
            reason, hint = problem.message, problem.hint
        if is_written:
            assert isinstance(root, MapNode)
            node = _descend(root.members["policies"][1], (pattern,))
            main.reading.error(node, f"{quote(_written(node))} {reason}", hint)
        else:
            main.note(f"policies: {pattern} (the default) {reason}", hint)
        self._complete = False
        return []

    def _read_policy(
        self, path: Path, shown: str, environment: Environment, reach: PolicyReach
    ) -> dict[str, Any]:
        source = self._read(path, shown, environment, reach)
        root = source.document.root
        if root is None or is_null(root):
            if source.document.whole and not source.document.faults:
                source.note("the file is empty", "remove it, or write {} into it; half a file is no policy")
            return {}
        return self._read_policy_sections(root, source.reading)

    def _read_policy_sections(self, root: Node, reading: Reading) -> dict[str, Any]:
        if isinstance(root, MapNode) and root.members.keys() >= {"apiVersion", "kind"}:
            hint = "write what stands below its data into a file of its own"
            reading.error(root, "this is a manifest of Kubernetes, not a policy", hint)
            self._unread.update(_POLICY_KEYS)
            return {}
        values = POLICY_FILE.read_members(root, reading)
        if not isinstance(root, MapNode):
            reading.add_example(POLICY_FIELDS[-2].with_example(), since=0)
        self._note_unread(root, values)
        return values

    def _note_unread(self, root: Node, values: dict[str, Any]) -> None:
        """Remember the sections of a file that are not among the values."""
        if isinstance(root, MapNode):
            written = (key for key, (_, node) in root.members.items() if not is_null(node))
            self._unread.update(key for key in written if key not in values)
        else:
            self._unread.update(_POLICY_KEYS)

    # --- putting together

    def _assemble(self, values: dict[str, Any], parts: list[dict[str, Any]]) -> Settings:
        clients: dict[str, ClientSettings] = {}
        authorizations: list[AuthorizationSettings] = []
        routes: list[RouteSettings] = []
        tests: list[PolicyTest] = []
        for source, part in zip(self._sources, parts, strict=True):
            for name, client in part.get("clients", {}).items():
                first = clients.setdefault(name, client)
                if first is not client and first.origin is not None:
                    at = f"{first.origin.file}:{first.origin.line}:{first.origin.column}"
                    node, _ = source.entry(client.origin)
                    source.reading.error(
                        node, f"this client is defined already at {at}", "one client, one place"
                    )
            authorizations += part.get("authorizations", ())
            routes += part.get("routes", ())
            tests += part.get("tests", ())
        settings = Settings(
            **values,
            clients=MappingProxyType(clients),
            authorizations=tuple(authorizations),
            routes=tuple(routes),
            tests=tuple(tests),
            content_hash=self._files.content_hash,
            watched=self._files.watched,
        )
        return _place_data(settings)

    def _default_data_directory(self) -> Path:
        """Return where data lies when the file does not say: as the image sets it, else beside the file."""
        named = self._environ.get(DATA_VARIABLE)
        if not named:
            return self._directory
        try:
            return Path(parse_file_text(named)).absolute()
        except SpellingError as reason:
            self._sources[0].note(f"the environment variable {DATA_VARIABLE} {reason.message}", reason.hint)
            return self._directory

    # --- checks and their places

    def _check(self, settings: Settings) -> None:
        for finding in check_process(settings):
            self._note(finding)
        if self._complete:
            doubts = self._doubts()
            findings = check_policy(settings, now=self._now, doubts=doubts)
            if not doubts.of("clients") and not any(
                doubts.about(client.origin, "claims") for client in settings.clients.values()
            ):
                findings = chain(findings, check_told_claims(settings))
            for finding in findings:
                self._note(finding)

    def _doubts(self) -> Doubts:
        """Return what was not read as meant, in all files."""
        readings = [source.reading for source in self._sources]
        keys = {
            Origin(reading.file, line, column): doubted
            for reading in readings
            for (line, column), doubted in reading.doubts.items()
        }
        roots = (MAIN_FILE, POLICY_FILE)
        meant = {key for each in readings for section, key in each.meant if section in roots}
        nameless = [kind for each in readings for kind in each.nameless]
        meant |= {item.key for item in MAIN_FILE.fields if item.kind in nameless}
        return Doubts(keys, frozenset(meant | self._unread))

    def _check_exposure(self, settings: Settings, private: PrivateFiles) -> None:
        """Note what gives everything away."""
        for finding in (*check_exposure(settings), *check_exposed_files(settings, private)):
            self._note(finding)
        for source in self._sources:
            others = who_else_may_write(source.path) if source.document.root is not None else ""
            if others:
                source.note(
                    f"{others} may write this file", "chmod 644, and 755 for its directory", Severity.WARNING
                )

    def _routes_read_whole(self, routes: tuple[RouteSettings, ...]) -> tuple[RouteSettings, ...]:
        """Return the routes without a mistake of their own. Asked before names are checked across files."""
        mistaken = {
            id(note.node)
            for source in self._sources
            for note in source.reading.notes
            if note.severity is Severity.ERROR
        }
        if not mistaken:
            return routes
        sound = []
        for route in routes:
            assert route.origin is not None
            _, written = self._by_file[route.origin.file].entry(route.origin)
            if not any(id(node) in mistaken for node, _ in walk(written)):
                sound.append(route)
        return tuple(sound)

    def _note(self, finding: Finding) -> None:
        """Put a finding to the node that its steps lead to, or as near as the file goes."""
        source = self._sources[0] if finding.owner is None else self._by_file[finding.owner.file]
        at, start = source.entry(finding.owner)
        node = _descend(start, finding.steps)
        if node is not start:
            at = node
        message = f"{quote(_written(node))} {finding.message}" if finding.quoted else finding.message
        hint = finding.hint
        if finding.instead and self._is_written(finding.instead, finding.seen):
            hint = join_hints(f"did you mean {finding.instead}?", hint)
        if finding.severity is Severity.ERROR:
            source.reading.error(at, message, hint)
        else:
            source.reading.warn(at, message, hint)

    def _is_written(self, text: str, origin: Origin | None) -> bool:
        """Return whether an entry says just that, not a variable in place of it, and it may be shown."""
        if origin is None or quote(text) != f'"{text}"':
            return False
        _, entry = self._by_file[origin.file].entry(origin)
        return any(isinstance(node, ScalarNode) and node.written == text for node, _ in walk(entry))

    def _problems(self) -> tuple[Problem, ...]:
        found = [problem for source in self._sources for problem in source.all_problems()]
        return leave_out_beyond(MOST_PROBLEMS, found, str(self._path))


def _place_data(settings: Settings) -> Settings:
    """Return the settings with what the process writes placed in its data directory."""
    data = settings.data_directory
    keys = replace(settings.keys, directory=data / settings.keys.directory)
    state = settings.state
    if state.sqlite_path is not None:
        state = replace(state, sqlite_path=data / state.sqlite_path)
    return replace(settings, keys=keys, state=state)


def _apart(root: Node) -> tuple[Node, MapNode | None]:
    """Return the main file's process sections and its policy sections.

    The former are read first: policies name what they define.
    """
    if not isinstance(root, MapNode):
        return root, None
    policy = {key: member for key, member in root.members.items() if key in _POLICY_KEYS}
    process = {key: member for key, member in root.members.items() if key not in _POLICY_KEYS}
    return MapNode(process, root.line, root.column), MapNode(policy, root.line, root.column)


def _find_entries(root: MapNode) -> Iterator[tuple[tuple[int, int], tuple[Node, Node]]]:
    """Yield each entry of the policy sections: its position, and its key (or itself) and value."""
    for key in _POLICY_KEYS:
        if key not in root.members:
            continue
        section = root.members[key][1]
        if isinstance(section, MapNode):
            for name, value in section.members.values():
                yield (name.line, name.column), (name, value)
        elif isinstance(section, ListNode):
            for item in section.items:
                yield (item.line, item.column), (item, item)


def _descend(node: Node, steps: tuple[Step, ...]) -> Node:
    """Return the node that the steps lead to; where they lead nowhere, the last one reached.

    A mapping reached by its key is shown at that key, where a reader looks first.
    """
    for step in steps:
        key: Node | None = None
        following: Node | None = None
        if isinstance(node, MapNode):
            names = step if isinstance(step, tuple) else (str(step),)
            key, following = next(
                (node.members[name] for name in names if name in node.members), (None, None)
            )
        elif isinstance(node, ListNode):
            if isinstance(step, int):
                following = node.items[step] if step < len(node.items) else None
            else:
                following = next(
                    (item for item in node.items if isinstance(item, ScalarNode) and item.text == step), None
                )
        if following is None:
            return node
        if step == steps[-1] and key is not None and isinstance(following, MapNode):
            return key
        node = following
    return node


def _on_one_line(name: str) -> str:
    """Return the name of a file without line breaks and what else would change a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def _written(node: Node) -> str:
    return node.written if isinstance(node, ScalarNode) else ""
