"""Judge the key directory of a configuration that is not in force yet.

Shell: reads files, so beside a live event loop it belongs on a thread. How a running process
follows its keys is `gateway.reload.keys`.
"""

from pathlib import Path

from gateway.reload.compile import Configuration
from gateway.settings.problems import Problem, SettingsError, Severity
from gateway.tokens.keyfiles import KeyDirectoryError, LoadedKeys, NoKeysError, load_keys

SETTING = "keys.directory"


def load_first_keys(configuration: Configuration, *, create: bool) -> LoadedKeys:
    """Return the keys of a directory that the process does not use yet: there must be one.

    Args:
        configuration: Names the directory.
        create: Whether to make the first key when there is none.

    Raises:
        SettingsError: The key directory cannot be used.
    """
    settings = configuration.settings
    try:
        return load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=create)
    except KeyDirectoryError as error:
        problem = Problem(str(configuration.path), 1, 1, SETTING, str(error))
        watched = (*settings.watched, settings.keys.directory)
        raise SettingsError((problem,), watched=watched) from error


def key_problems(configuration: Configuration) -> tuple[Problem, ...]:
    """Return what is wrong with the keys that are there, for `check`; none is made, and none need be."""
    settings = configuration.settings
    try:
        keys = load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=False)
    except NoKeysError:
        return ()  # the first start makes one
    except KeyDirectoryError as error:
        return (Problem(str(configuration.path), 1, 1, SETTING, str(error)),)
    return key_warnings(configuration.path, keys)


def key_warnings(file: Path, keys: LoadedKeys) -> tuple[Problem, ...]:
    """Return what the owner of the keys should know, as problems of the main file."""
    return tuple(
        Problem(str(file), 1, 1, SETTING, warning, severity=Severity.WARNING) for warning in keys.warnings
    )
