"""Show that the starter configuration loads, is shipped once, and has a place for a secret."""

import filecmp
from importlib.resources import files
from pathlib import Path

from gateway.cli.starter import write_starter
from gateway.settings.load import load
from gateway.settings.schema import schema_files
from gateway.settings.secret_texts import UNUSABLE_SECRET

ROOT = Path(__file__).parents[2]
NAMES = ["gateway.yaml", "policies/country.yaml"]


def test_config_is_the_starter() -> None:
    for directory in (ROOT / "config", ROOT / "gateway/starter"):
        assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*.yaml")) == NAMES
    matching, different, missing = filecmp.cmpfiles(
        ROOT / "config", ROOT / "gateway/starter", NAMES, shallow=False
    )
    assert (matching, different, missing) == (NAMES, [], [])


def test_init_writes_the_schemas_that_its_files_name(tmp_path: Path) -> None:
    write_starter(tmp_path / "mine")
    assert_that_schemas_are_named(tmp_path / "mine" / "config")


def test_the_files_of_the_repository_name_schemas_that_are_there() -> None:
    assert_that_schemas_are_named(ROOT / "config")


def assert_that_schemas_are_named(directory: Path) -> None:
    schemas = {}
    for name in NAMES:
        first = (directory / name).read_text("utf-8").partition("\n")[0]
        schema = (
            (directory / name).parent / first.removeprefix("# yaml-language-server: $schema=")
        ).resolve()
        assert schema.parent == directory.resolve()
        schemas[schema.name] = schema.read_text("utf-8")
    assert schemas == schema_files()


def test_it_is_part_of_the_package() -> None:
    assert (files("gateway") / "starter" / "policies" / "country.yaml").is_file()


def test_it_loads_with_the_one_warning_that_init_removes(tmp_path: Path) -> None:
    loaded = load(ROOT / "config/gateway.yaml", environ={})
    assert [problem.message for problem in loaded.warnings] == ["nobody can use this secret"]
    (tmp_path / "policies").mkdir()
    for name in NAMES:
        text = (ROOT / "gateway/starter" / name).read_text()
        assert text.count(UNUSABLE_SECRET) == (name == "policies/country.yaml")
        (tmp_path / name).write_text(text.replace(UNUSABLE_SECRET, f"sha256:{'ab' * 16}:{'cd' * 32}"))
    assert load(tmp_path / "gateway.yaml", environ={}).warnings == ()


def test_the_image_can_be_pointed_elsewhere_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 40)
    environ = {
        "SIDEGATE_ADDRESS": "0.0.0.0:8080",
        "SIDEGATE_ADMIN_ADDRESS": "0.0.0.0:9090",
        "SIDEGATE_ADMIN_TOKEN_FILE": str(tmp_path / "token"),
        "SIDEGATE_ISSUER_URL": "https://auth.example.com",
        "SIDEGATE_UPSTREAM": "http://country:9001",
    }
    settings = load(ROOT / "config/gateway.yaml", environ=environ).settings
    assert str(settings.listeners[0].address) == "0.0.0.0:8080"
    assert settings.admin.token_file == tmp_path / "token"
    assert settings.issuer.url == "https://auth.example.com"
    assert settings.upstreams["country"].targets[0].url == "http://country:9001"
