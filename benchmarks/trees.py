"""Find the tree of files that takes part as an earlier state of this project."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

THIS_CHECKOUT = Path(__file__).parents[1]


class NoSuchTreeError(Exception):
    """The text names neither a checkout nor a revision."""


def find_tree(text: str, directory: Path, *, checkout: Path = THIS_CHECKOUT) -> Path:
    """Return the checkout at the path `text`, or the files of the Git revision `text`, unpacked.

    Args:
        text: A directory with `gateway/` in it, or what `git rev-parse` takes.
        directory: Made here when a revision is unpacked.
        checkout: Whose revisions are meant.

    Raises:
        NoSuchTreeError: It is neither.
    """
    path = Path(text)
    if (path / "gateway").is_dir():
        return path.resolve()
    git = ["git", "-C", str(checkout)]
    name = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if name.returncode:
        raise NoSuchTreeError(f"{text} is neither a checkout of this project nor a Git revision of it")
    packed = subprocess.run(
        [*git, "archive", "--format=tar", name.stdout.strip(), "gateway"], capture_output=True, check=False
    )
    if packed.returncode:
        raise NoSuchTreeError(f"{text} has no gateway/ in it")
    directory.mkdir()
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(directory)
    return directory
