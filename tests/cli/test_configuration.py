"""Show `check`, `test` and `config show`: exit codes, what they print and what they never print."""

import json
from xml.etree import ElementTree

import pytest

SECRET = "a-secret-of-the-environment"


def test_check_of_a_sound_configuration(run, configuration):
    done = run("check", "-c", configuration)
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{configuration}: ok\n", "")
    done = run("check", "-c", configuration, "--format", "json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])


def test_check_names_every_mistake_with_its_place(run, configuration):
    policy = configuration.parent / "policies" / "country.yaml"
    policy.write_text(policy.read_text().replace("audience: country-service", "audience: x"))
    configuration.write_text(configuration.read_text() + "limits: {connectons: 1}\n")
    done = run("check", "-c", configuration)
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        f"{configuration}:9:10: error: limits.connectons: the key is unknown (hint: did"
    )
    assert lines[1].startswith(f"{policy}:5:32: error: authorizations[0].audience: ")
    assert lines[2].startswith(f"{policy}:7:")
    assert "routes[0].require.audience" in lines[2]
    assert lines[3:] == ["3 errors, 0 warnings"]
    done = run("check", "-c", configuration, "--format", "json")
    assert done.exit_code == 2
    first = json.loads(done.stdout)[0]
    assert first == {
        "file": str(configuration),
        "line": 9,
        "column": 10,
        "path": "limits.connectons",
        "message": "the key is unknown",
        "hint": "did you mean connections?",
        "severity": "error",
    }


def test_warnings_fail_only_when_strict(run, configuration):
    policy = configuration.parent / "policies" / "country.yaml"
    policy.write_text(policy.read_text().replace("env:CALLER_SECRET", "plain:open"))
    done = run("check", "-c", configuration)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "0 errors, 1 warning"
    assert ": warning: clients.caller.secrets[0]: " in done.stdout
    assert "plain:open" not in done.stdout
    assert run("check", "-c", configuration, "--strict").exit_code == 2


ANYWAY = "is forwarded anyway"
LIES = "anybody may tell the service where a request comes from or what it is for"


@pytest.mark.parametrize(
    ("field", "trusted", "said"),
    [
        ("X-SSL-Client-Verify", "10.0.0.0/8", None),
        ("remote-user", "10.0.0.0/8", None),
        ("Shib-Session", "10.0.0.0/8", None),
        ("X_Tenant", "", None),
        ("x-real-ip", "", LIES),
        ("x-real-ip", "10.0.0.0/8", LIES),
        ("True_Client_IP", "", LIES),
        ("X-Forwarded-Host", "", LIES),
        ("X-HTTP-Method-Override", "", LIES),
        ("accept", "", ANYWAY),
        ("X-Tenant", "10.0.0.0/8", ANYWAY),
    ],
)
def test_what_is_said_of_kept_fields_is_what_becomes_of_them(run, configuration, field, trusted, said):
    text = configuration.read_text().replace('127.0.0.1:3"]', f'127.0.0.1:3"], keep_headers: [{field}]')
    configuration.write_text(text + (f"trusted_proxies: [{trusted}]\n" if trusted else ""))
    done = run("check", "-c", configuration, "--strict")
    assert done.exit_code == (2 if said else 0), done.stdout
    assert [each for each in (ANYWAY, LIES) if each in done.stdout] == ([said] if said else [])


def test_more_connections_than_the_file_limit_holds_are_a_warning(run, configuration):
    configuration.write_text(configuration.read_text() + "limits:\n  connections: 1000000\n")
    done = run("check", "-c", configuration)
    assert done.exit_code == 0
    assert f"{configuration}:10:16: warning: limits.connections: 1000000 connections need" in done.stdout


@pytest.mark.parametrize(
    "command",
    [["check"], ["test"], ["run"], ["config", "show"], ["keys", "list"], ["keys", "generate"]],
    ids=" ".join,
)
def test_a_configuration_that_does_not_load_is_exit_2_everywhere(run, tmp_path, command):
    missing = tmp_path / "nowhere.yaml"
    done = run(*command, "-c", missing)
    assert done.exit_code == 2
    assert f"{missing}:1:1: " in done.output
    assert "the file does not exist" in done.output
    assert "1 error" in done.output


def test_the_default_configuration_is_that_of_the_environment(run, configuration, monkeypatch, tmp_path):
    monkeypatch.setenv("SIDEGATE_CONFIG", str(configuration))
    assert run("check").stdout == f"{configuration}: ok\n"
    monkeypatch.delenv("SIDEGATE_CONFIG")
    monkeypatch.chdir(tmp_path)
    assert "config/gateway.yaml:1:1: " in run("check").output


def test_test_runs_the_policy_tests(run, configuration, tmp_path):
    report = tmp_path / "report.xml"
    done = run("test", "-c", configuration, "--junit", report)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "2 passed, 0 failed")
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")


def test_a_failing_policy_test_is_exit_1_with_its_place(run, configuration, tmp_path):
    policy = configuration.parent / "policies" / "country.yaml"
    policy.write_text(policy.read_text().replace("deny: no_token", "deny: expired"))
    report = tmp_path / "report.xml"
    done = run("test", "-c", configuration, "--junit", report)
    assert done.exit_code == 1
    assert f"FAIL  {policy}:10: nobody else may: expected deny: expired, found deny: no_token" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed"
    (case,) = (case for case in ElementTree.parse(report).getroot() if case.find("failure") is not None)
    assert (case.get("name"), case.get("line")) == ("nobody else may", "10")


def test_show_prints_what_is_in_effect_and_no_secret(run, configuration):
    done = run("config", "show", "-c", configuration)
    assert done.exit_code == 0
    assert SECRET not in done.stdout
    assert "CALLER_SECRET" in done.stdout or "***" in done.stdout
    assert "token_lifetime: 1h" in done.stdout


@pytest.mark.parametrize("name", ["broken.pem", "broken.jwk"])
def test_check_reads_the_key_directory_and_makes_none(run, configuration, name):
    keys = configuration.parent / "keys"
    assert run("check", "-c", configuration).exit_code == 0
    assert not keys.exists(), "the first start makes a key, not a check"
    assert run("keys", "generate", "-c", configuration).exit_code == 0
    assert run("check", "-c", configuration, "--strict").exit_code == 0
    (keys / name).write_text("half writ")
    done = run("check", "-c", configuration)
    assert done.exit_code == 2
    assert f"{configuration}:1:1: error: keys.directory: {keys / name}: " in done.stdout
    assert done.stdout.splitlines()[-1] == "1 error, 0 warnings"


def test_check_warns_of_a_key_that_is_there_twice(run, configuration):
    keys = configuration.parent / "keys"
    run("keys", "generate", "-c", configuration)
    (key,) = keys.glob("*.pem")
    (keys / "again.pem").write_bytes(key.read_bytes())
    done = run("check", "-c", configuration)
    assert done.exit_code == 0
    assert ": warning: keys.directory: " in done.stdout
    assert run("check", "-c", configuration, "--strict").exit_code == 2
