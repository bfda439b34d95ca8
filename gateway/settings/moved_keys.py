"""Say what to write instead of keys that former versions had.

The lines are YAML that can be pasted. Pure: the paths of the files that held the keys are
known, what is in them is not looked at.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from gateway.settings.problems import SpellingError
from gateway.settings.quoting import quote
from gateway.settings.reading import MovedToken, Reading

_PRIVATE = "names what the process itself keeps secret, and is sent nowhere"
_OWN_FILE = "a token for key servers has a file of its own, which bearer_token_files of the main file names"


def note_moved_tokens(
    readings: Sequence[Reading], main_file: str, directory: Path, is_private: Callable[[Path], bool]
) -> None:
    """Note each `bearer_token_file` of an identity as a mistake, with the lines that replace all of them.

    Args:
        readings: Of all files, the main file's first.
        main_file: The name of the main file, for people.
        directory: Where the main file lies; paths that it names are relative to that.
        is_private: Whether a file is what the process itself keeps secret: no line is written for that.
    """
    moved: list[tuple[Reading, MovedToken]] = []
    for reading in readings:
        for token in reading.moved:
            if is_private(token.path):
                reading.refuse(token.node, SpellingError(_PRIVATE, _OWN_FILE))
            else:
                moved.append((reading, token))
    taken = set(readings[0].entries.get("bearer_token_files", {}))
    names: dict[str, str] = {}
    entries: dict[str, dict[str, object]] = {}
    for _, token in moved:
        file = _written_for(token, directory)
        if file not in names:
            names[file] = _new_name(token, taken)
            entries[names[file]] = {"file": file, "origins": []}
        origins = entries[names[file]]["origins"]
        assert isinstance(origins, list)
        origin = _shown_origin(token)
        if origin not in origins:
            origins.append(origin)
    lines = f"bearer_token_files: {_one_line(entries)}"
    for reading, token in moved:
        name = names[_written_for(token, directory)]
        reading.error(
            token.node,
            "bearer_token_file is replaced by bearer_token: which token goes where is said in the main file",
            f"if it may go there, in {main_file} write: {lines} -- and here, in place of this: "
            f"bearer_token: {name}",
        )


def _written_for(token: MovedToken, directory: Path) -> str:
    """Return the path as the main file would write it; what came from the environment stays unexpanded."""
    if token.node.written != token.node.text:
        return token.node.written
    if quote(token.node.written) != f'"{token.node.written}"':
        return "PATH"  # what stands there may be the secret itself
    path = Path(os.path.normpath(token.path))
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)


def _shown_origin(token: MovedToken) -> str:
    """Return the origin as people write it, without the port that its scheme has anyway."""
    if not token.origin:
        return "https://HOST"
    usual = ":443" if token.origin.startswith("https:") else ":80"
    return token.origin.removesuffix(usual)


def _new_name(token: MovedToken, taken: set[str]) -> str:
    """Return a free name, after the host that the token is for."""
    host = token.origin.partition("://")[2].rpartition(":")[0]
    word = next(_words(host), "keys")
    name, number = word, 1
    while name in taken:
        number += 1
        name = f"{word}-{number}"
    taken.add(name)
    return name


def _words(host: str) -> Iterator[str]:
    """Yield what of a host can name a token: its labels that begin with a letter."""
    labels: Iterable[str] = host.split(".")
    return (label for label in labels if label[:1].isalpha())


def _one_line(document: dict[str, dict[str, object]]) -> str:
    return yaml.safe_dump(document, default_flow_style=True, width=10**9, sort_keys=False).strip()
