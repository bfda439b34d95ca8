"""Show where the process's own data lies: beside the file, where the image says, or where the file says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gateway.demo.configuration import demo_configuration
from gateway.settings.load import Loaded, load
from gateway.settings.problems import SettingsError
from gateway.settings.show import effective

Load = Callable[..., Loaded]
RELATIVE = "keys: {directory: my/keys}\nstate: sqlite:my/state.db\n"
IMAGE = {"SIDEGATE_DATA": "/var/lib/sidegate"}


def places(loaded: Loaded) -> tuple[Path, Path | None]:
    return loaded.settings.keys.directory, loaded.settings.state.sqlite_path


@pytest.mark.parametrize(
    ("text", "environ", "directory"),
    [
        ("version: 1\n", {}, "."),
        ("version: 1\n", {"SIDEGATE_DATA": ""}, "."),
        ("version: 1\n", IMAGE, "/var/lib/sidegate"),
        ("data_directory: null\n", IMAGE, "/var/lib/sidegate"),
        ("data_directory: /srv/data\n", IMAGE, "/srv/data"),
        ("data_directory: data\n", IMAGE, "data"),
        ("data_directory: .\n", IMAGE, "."),
        ("data_directory: ${WHERE}\n", {**IMAGE, "WHERE": "/mnt/data"}, "/mnt/data"),
    ],
)
def test_relative_keys_and_state_lie_in_the_data_directory(
    load_text: Load, tmp_path: Path, text: str, environ: dict[str, str], directory: str
) -> None:
    data = tmp_path / directory
    assert places(load_text(text, environ=environ)) == (data / "keys", data / "state/sidegate.db")
    written = load_text(text + RELATIVE, environ=environ)
    assert places(written) == (data / "my/keys", data / "my/state.db")
    mapped = load_text(text + "state: {url: 'sqlite:a.db', consistency: cached}\n", environ=environ)
    assert places(mapped) == (data / "keys", data / "a.db")
    assert written.settings.data_directory == data


def test_absolute_paths_lie_where_they_say(load_text: Load) -> None:
    text = "keys: {directory: /a/keys}\nstate: sqlite:/b/state.db\n"
    assert places(load_text(text, environ=IMAGE)) == (Path("/a/keys"), Path("/b/state.db"))


def test_what_is_read_stays_beside_the_file(load_text: Load, tmp_path: Path) -> None:
    text = (
        "secrets_directory: secrets\nlogs: {access: access.log}\nlisteners: [{address: 'unix:gate.sock'}]\n"
    )
    settings = load_text(text, environ=IMAGE).settings
    assert settings.secrets_directory == tmp_path / "secrets"
    assert settings.logs.access == str(tmp_path / "access.log")
    assert str(settings.listeners[0].address) == f"unix:{tmp_path}/gate.sock"


def test_a_relative_variable_is_read_as_programs_read_it(
    load_text: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded = load_text("version: 1\n", environ={"SIDEGATE_DATA": "data"})
    assert loaded.settings.data_directory == tmp_path / "elsewhere" / "data"


def test_a_variable_that_is_no_path_is_named(load_text: Load) -> None:
    with pytest.raises(SettingsError) as raised:
        load_text("version: 1\n", environ={"SIDEGATE_DATA": "/var/\x1b[31m"})
    [problem] = raised.value.problems
    assert "the environment variable SIDEGATE_DATA " in problem.message


def test_the_effective_configuration_says_where(load_text: Load, tmp_path: Path) -> None:
    shown = yaml.safe_load(effective(load_text(RELATIVE, environ=IMAGE).settings))
    assert shown["data_directory"] == "/var/lib/sidegate"
    assert shown["keys"]["directory"] == "/var/lib/sidegate/my/keys"
    assert shown["state"] == "sqlite:/var/lib/sidegate/my/state.db"


def test_the_demo_leaves_the_data_of_the_image_alone(tmp_path: Path) -> None:
    demo = demo_configuration(tmp_path, 8080, 9090, 9001)
    assert load(demo.path, environ=IMAGE).settings.keys.directory == tmp_path / "keys"
