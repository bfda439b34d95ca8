"""Judge the key directory of a configuration.

Shell: reads files, so beside a live event loop it belongs on a thread.
"""

from gateway.reload.compile import Configuration
from gateway.settings.problems import Problem, Severity
from gateway.tokens.keyfiles import KeyDirectoryError, NoKeysError, load_keys


def key_problems(configuration: Configuration) -> tuple[Problem, ...]:
    """Return what is wrong with the keys that are there, for `check`; none is made, and none need be."""
    settings = configuration.settings
    place = str(configuration.path)
    try:
        keys = load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=False)
    except NoKeysError:
        return ()  # the first start makes one
    except KeyDirectoryError as error:
        return (Problem(place, 1, 1, "keys.directory", str(error)),)
    return tuple(
        Problem(place, 1, 1, "keys.directory", warning, severity=Severity.WARNING)
        for warning in keys.warnings
    )
