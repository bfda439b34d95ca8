"""Show that the documentation's configurations load and its links lead somewhere."""

import re
from pathlib import Path

import click
import pytest
import yaml

from gateway.cli import main
from gateway.settings.load import load
from gateway.settings.secret_texts import UNUSABLE_SECRET

ROOT = Path(__file__).parents[2]
SIDECAR = ROOT / "examples/kubernetes"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
        ROOT / "benchmarks/README.md",
    ]
)


def snippets(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_readme_policy_loads_without_warnings(tmp_path):
    (policy,) = snippets("README.md", "yaml")
    (tmp_path / "policy.yaml").write_text(policy, encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(
        "version: 1\n"
        "upstreams: {country: {targets: ['http://127.0.0.1:9001']}}\n"
        "policies: [policy.yaml]\n"
        "policy_environment: [BILLING_SECRET]\n",
        encoding="utf-8",
    )
    assert load(tmp_path / "gateway.yaml", environ={"BILLING_SECRET": "x" * 43}).warnings == ()


def test_the_sidecar_configuration_loads_without_warnings(tmp_path):
    _, deployment, configuration, *_ = snippets("docs/operations.md", "yaml")
    assert deployment == (SIDECAR / "deployment.yaml").read_text("utf-8")
    assert configuration == (SIDECAR / "gateway.yaml").read_text("utf-8")
    assert yaml.safe_load(deployment)["kind"] == "Deployment"
    token = tmp_path / "token"
    token.write_text("x" * 43, encoding="ascii")
    path = tmp_path / "gateway.yaml"
    path.write_text(configuration.replace("/run/secrets/sidegate/token", str(token)), encoding="utf-8")
    (tmp_path / "policies").mkdir()
    policy = (SIDECAR / "policies/country.yaml").read_text("utf-8")
    stored = f"sha256:{'ab' * 16}:{'cd' * 32}"  # as `sidegate secret generate` prints one
    (tmp_path / "policies" / "country.yaml").write_text(policy.replace(UNUSABLE_SECRET, stored))
    assert load(path, environ={"POD_IP": "10.1.2.3"}).warnings == ()


def test_the_listeners_load_without_warnings(tmp_path):
    listeners = snippets("docs/operations.md", "yaml")[0]
    (tmp_path / "gateway.yaml").write_text(f"version: 1\npolicies: []\n{listeners}", encoding="utf-8")
    assert load(tmp_path / "gateway.yaml", environ={}).warnings == ()


def test_the_commands_of_the_operations_page_parse():
    lines = "".join(snippets("docs/operations.md", "bash")).splitlines()
    written = [
        found[1] for line in lines if (found := re.search(r"\bsidegate ((?!run -c)[a-z][^<>#)&]*)", line))
    ]
    assert len(written) >= 10
    # A command keeps the first help option it makes, and -h comes from the group.
    group = click.Context(main, **main.context_settings)
    for words in map(str.split, written):
        with main.commands[words[0]].make_context(words[0], words[1:], parent=group):
            pass


INSTALLED_BY_NAME = re.compile(
    r"\b(?:pip|pipx|uv|uvx)\b[^\n#|]*?[\s'\"]sidegate(?:\[|[\s'\"`=<>~]|$)", re.MULTILINE
)


def test_nobody_is_told_to_install_a_name_that_is_not_ours() -> None:
    """Whoever takes the name on a package index would be installed."""
    assert INSTALLED_BY_NAME.search("run pip install 'sidegate[redis]'")
    assert INSTALLED_BY_NAME.search("pipx install sidegate\n")
    assert INSTALLED_BY_NAME.search("uvx sidegate demo")
    assert not INSTALLED_BY_NAME.search("pip --python /opt/sidegate/bin/python install wheels/*.whl")
    texts = [
        path
        for directory in ("gateway", "docs", "examples", "benchmarks", "loadtests", "tools", "config")
        for path in (ROOT / directory).rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".sh", "") and path.is_file()
    ]
    texts += [*ROOT.glob("*.md"), ROOT / "Dockerfile", ROOT / "Makefile", ROOT / "pyproject.toml"]
    told = [str(path) for path in texts if INSTALLED_BY_NAME.search(path.read_text("utf-8"))]
    assert told == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert missing == []
