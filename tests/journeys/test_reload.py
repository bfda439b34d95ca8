"""Show reloads of a running process: by signal, by request, by content; under load; refused; keys."""

import asyncio
import base64
import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import reloads
from tests.support.replacing import replace

ROOT = Path(__file__).parents[2]
FULL = bool(os.environ.get("SIDEGATE_SOAK"))
RELOADS, RATE = (20, 2500) if FULL else (5, 1000)
LONGEST_WAIT_MS = 50
SWAPPED_WITHIN_S = 3.0 if FULL else 10.0
"""Two looks that agree, and a reload; other tests beside this one may take their time."""

ROUTE = """\
  - {{name: round-{0}, path: /round/{0}, upstream: country, access: public}}
"""


class Echo(asyncio.Protocol):
    """The quickest upstream there is: every request head gets the same answer."""

    def __init__(self, transports):
        self.transports = transports

    def connection_made(self, transport):
        self.transport = transport
        self.transports.append(transport)

    def data_received(self, data):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        self.transport.write(answer * data.count(b"\r\n\r\n"))


@pytest.fixture
async def echo():
    """Return the port of the upstream."""
    transports = []
    server = await asyncio.get_running_loop().create_server(lambda: Echo(transports), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)  # transports close their sockets in the next turn of the loop


async def test_reloads_at_load_fail_no_request_and_take_effect(make, echo, record_property):
    appliance = make()
    main = appliance.main.read_text().split("upstreams:")[0]
    appliance.main.write_text(f'{main}upstreams: {{country: {{targets: ["http://127.0.0.1:{echo}"]}}}}\n')
    policy = appliance.policy.read_text()
    await asyncio.to_thread(appliance.start)
    token = await asyncio.to_thread(appliance.token)
    seconds = RELOADS * 0.4 + 1
    caller = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.steady",
        str(appliance.port),
        "/ms-system/country/code/AUS",
        token,
        str(RATE),
        str(seconds),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    begun = time.monotonic()
    for turn in range(RELOADS):
        appliance.policy.write_text(policy.replace("tests:\n", ROUTE.format(turn) + "tests:\n"))
        reloaded = await asyncio.to_thread(appliance.hang_up)
        assert reloaded["applied"], reloaded
        now_there = await asyncio.to_thread(appliance.get, f"/round/{turn}")
        gone = await asyncio.to_thread(appliance.get, f"/round/{turn - 1}")
        assert (now_there.status, gone.status) == (200, 404)
    assert time.monotonic() - begun < seconds, "the reloads outlasted the load"
    output, _ = await caller.communicate()
    seen = json.loads(output)
    print(json.dumps({"reloads": RELOADS, **seen}))
    record_property("reloads_at_load", {"reloads": RELOADS, **seen})
    assert seen["failures"] == []
    assert seen["requests"] > 0.5 * RATE * seconds
    assert appliance.metric('sidegate_config_reloads_total{result="ok",cause="signal"}') == RELOADS
    if FULL:
        assert seen["requests"] > 0.8 * RATE * seconds
        assert seen["longest_ms"] < LONGEST_WAIT_MS


@pytest.mark.soak
@pytest.mark.skipif(not FULL, reason="measures with full counts")
def test_nobody_waits_long_beside_twenty_reloads():
    pairs = reloads.reloads(rounds=3, routes=100)
    assert all(pair.holds for pair in pairs), [pair.line for pair in pairs]


BAD_ENDINGS = [
    pytest.param("clientz: {}\n", "the key is unknown", id="a key that does not exist"),
    pytest.param("routes: [\n", "", id="YAML that does not parse"),
    pytest.param(
        "tests:\n  - {name: wrong, request: GET /nowhere, expect: allow}\n",
        "the policy test expected allow",
        id="a policy test that fails",
    ),
    pytest.param(
        "routes:\n  - {path: /ms-system/**, methods: [HEAD], upstream: country, access: public}\n",
        "ties with route",
        id="a route that ties",
    ),
]


@pytest.mark.parametrize(("broken", "message"), BAD_ENDINGS)
def test_a_bad_configuration_keeps_the_old_one_and_says_why(appliance, broken, message):
    token = appliance.token()
    more = appliance.policy.with_name("more.yaml")
    before = appliance.status["configuration"]
    more.write_text(broken)
    reloaded = appliance.hang_up()
    assert reloaded["applied"] is False
    assert reloaded["result"] == "invalid"
    (problem,) = (each for each in reloaded["problems"] if each["severity"] == "error")
    assert problem["file"] == str(more)
    assert problem["line"] >= 1
    assert message in problem["message"]
    assert appliance.status["configuration"] == before
    assert appliance.get(bearer=token).status == 200
    assert appliance.metric("sidegate_config_last_reload_successful") == 0
    assert appliance.metric('sidegate_config_reloads_total{result="invalid",cause="signal"}') == 1
    errors = [line["message"] for line in appliance.logged if line["level"] == "error"]
    assert any(message in error and str(more) in error for error in errors)
    assert "the former one stays in effect" in errors[-1]
    asked = appliance.reload()
    assert asked.status == 422
    assert [each["message"] for each in asked.json["problems"] if each["severity"] == "error"] == [
        problem["message"]
    ]
    command = appliance.cli("reload")
    assert command.returncode == 1
    assert problem["message"] in command.stdout
    assert f"(hint: {problem['hint']})" in command.stdout or not problem["hint"]
    more.write_text("{}")
    assert appliance.hang_up()["applied"] is True
    assert appliance.metric("sidegate_config_last_reload_successful") == 1


def test_a_main_file_that_went_missing_keeps_the_old_one(appliance):
    text = appliance.main.read_text()
    appliance.main.unlink()
    assert appliance.hang_up()["applied"] is False
    assert appliance.get().status == 401
    appliance.main.write_text(text)
    assert appliance.hang_up()["applied"] is True


def test_a_setting_that_needs_a_restart_says_so(appliance):
    text = appliance.main.read_text()
    appliance.main.write_text(text.replace('"memory:"', "sqlite:state/other.db"))
    reloaded = appliance.hang_up()
    assert reloaded["applied"] is True
    (problem,) = (each for each in reloaded["problems"] if each["path"] == "state")
    assert (problem["severity"], problem["message"]) == (
        "warning",
        "changed, but takes effect only after a restart",
    )


def test_changed_content_is_noticed_without_being_told(appliance):
    appliance.reloaded_after(
        lambda: appliance.policy.write_text(
            appliance.policy.read_text().replace("tests:\n", ROUTE.format("saved") + "tests:\n")
        )
    )
    assert appliance.get("/round/saved").status == 200


def test_a_new_file_is_noticed_and_so_is_its_removal(appliance):
    more = appliance.policy.with_name("more.yaml")
    appliance.reloaded_after(lambda: more.write_text("routes:\n" + ROUTE.format("more")))
    assert appliance.get("/round/more").status == 200
    appliance.reloaded_after(more.unlink)
    assert appliance.get("/round/more").status == 404


def test_a_mounted_configuration_map_is_noticed_when_its_link_is_swapped(make):
    appliance = make()
    policies = appliance.policy.parent
    text = appliance.policy.read_text()
    appliance.policy.unlink()
    for version in ("first", "second"):
        directory = policies / f"..{version}"
        directory.mkdir()
        (directory / "country.yaml").write_text(text.replace("tests:\n", ROUTE.format(version) + "tests:\n"))
    (policies / "..data").symlink_to("..first")
    appliance.policy.symlink_to("..data/country.yaml")
    appliance.start()
    assert appliance.get("/round/first").status == 200

    def swap():
        (policies / "..data_tmp").symlink_to("..second")
        (policies / "..data_tmp").rename(policies / "..data")

    begun = time.monotonic()
    assert appliance.reloaded_after(swap)["applied"] is True
    assert time.monotonic() - begun < SWAPPED_WITHIN_S
    assert (appliance.get("/round/first").status, appliance.get("/round/second").status) == (404, 200)


def test_a_repair_after_a_bad_save_is_noticed(appliance):
    good = appliance.policy.read_text()
    assert appliance.reloaded_after(lambda: replace(appliance.policy, "oops: ["))["applied"] is False
    assert appliance.reloaded_after(lambda: replace(appliance.policy, good))["applied"] is True


# --- keys


def key_ids(appliance):
    return [key["kid"] for key in appliance.status["keys"]]


def published(appliance):
    return {key["kid"] for key in appliance.get("/.well-known/jwks.json").json["keys"]}


def test_a_key_dropped_into_the_directory_is_published_and_can_sign(appliance):
    (first,) = key_ids(appliance)
    token = appliance.token()
    made = appliance.cli("keys", "generate", "--activate")
    assert made.returncode == 0, made.stderr
    assert appliance.reload().status == 200
    second, _ = key_ids(appliance)
    assert second != first
    assert published(appliance) == {first, second}
    newer = appliance.token()
    assert kid_of(newer) == second
    assert appliance.get(bearer=newer).status == appliance.get(bearer=token).status == 200


def test_tokens_of_a_removed_key_are_refused_though_they_were_cached(appliance):
    old = appliance.token()
    assert appliance.get(bearer=old).status == 200
    assert appliance.cli("keys", "generate", "--activate").returncode == 0
    assert appliance.reload().status == 200
    (old_key,) = (Path(key) for key in key_files(appliance) if kid_of(old)[:12] in key)
    old_key.unlink()
    assert appliance.reload().status == 200
    refused = appliance.get(bearer=old)
    assert (refused.status, refused.reason) == (401, "unknown_key")
    assert appliance.introspect(old) == {"active": False}
    assert appliance.get(bearer=appliance.token()).status == 200


def test_the_last_key_that_is_deleted_is_gone(appliance):
    """Whoever deletes a leaked key means it: nothing passes with it, and policies go on reloading."""
    token = appliance.token()
    kept = {Path(path): Path(path).read_bytes() for path in key_files(appliance)}
    for path in kept:
        path.unlink()
    assert appliance.hang_up()["applied"] is True
    refused = appliance.get(bearer=token)
    assert (refused.status, refused.reason) == (401, "unknown_key")
    asked = appliance.ask_token()
    assert asked.status == 503
    assert asked.json["error"] == "temporarily_unavailable"
    assert published(appliance) == set()
    unready = appliance.admin("GET", "/readyz")
    assert unready.status == 503
    assert unready.json["checks"]["keys"]["ok"] is False
    appliance.policy.write_text(
        appliance.policy.read_text().replace("tests:\n", ROUTE.format("keyless") + "tests:\n")
    )
    assert appliance.hang_up()["applied"] is True
    assert appliance.get("/round/keyless").status == 200
    for path, octets in kept.items():
        path.write_bytes(octets)
        path.chmod(0o600)
    assert appliance.hang_up()["applied"] is True
    assert appliance.get(bearer=token).status == 200
    assert appliance.admin("GET", "/readyz").status == 200


def test_a_key_directory_that_is_away_says_nothing_of_the_keys(appliance):
    token = appliance.token()
    directory = appliance.directory / "keys"
    away = directory.with_name("keys.away")
    directory.rename(away)
    for make in (lambda: None, directory.mkdir):
        make()
        reloaded = appliance.hang_up()
        assert reloaded["applied"] is True
        assert [each["path"] for each in reloaded["problems"] if "key" in each["path"]] == ["keys.directory"]
        assert appliance.get(bearer=token).status == 200
        assert appliance.get(bearer=appliance.token()).status == 200
        told = appliance.admin("GET", "/readyz")
        assert (told.status, [each["name"] for each in told.json["degraded"]]) == (200, ["keys"])
    directory.rmdir()
    away.rename(directory)
    assert appliance.hang_up()["applied"] is True
    assert appliance.admin("GET", "/readyz").json["degraded"] == []


def key_files(appliance):
    return [str(path) for path in (appliance.directory / "keys").glob("*.pem")]


def kid_of(token):
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def test_a_running_process_notices_a_new_key_by_itself(appliance):
    (first,) = key_ids(appliance)

    def make() -> None:
        assert appliance.cli("keys", "generate").returncode == 0

    assert appliance.reloaded_after(make)["applied"]
    assert len(published(appliance)) == 2
    assert kid_of(appliance.token()) == first


# --- files that are not whole, or not there

SHUT = """\
routes:
  - {name: shut, path: /area/shut, upstream: country, require: {audience: country-service}}
"""


def test_a_policy_directory_that_is_away_for_a_moment_opens_nothing(appliance):
    """Its rules would be gone, and a wider public route of the main file would apply."""
    main = appliance.main.read_text()
    policies = appliance.policy.parent
    (policies / "shut.yaml").write_text(SHUT)
    appliance.main.write_text(
        main + 'routes:\n  - {name: wide, path: "/area/**", upstream: country, access: public}\n'
    )
    assert appliance.reload().status == 200
    assert appliance.get("/area/open").status == 200
    assert appliance.get("/area/shut").status == 401
    away = policies.with_name("elsewhere")
    policies.rename(away)
    refused = appliance.reload()
    assert refused.status == 422
    assert "policies" in refused.json["problems"][-1]["message"]
    assert appliance.get("/area/shut").status == 401
    away.rename(policies)
    assert appliance.reload().status == 200
    assert appliance.get("/area/shut").status == 401


def test_a_half_written_policy_does_not_go_live(appliance):
    """Block YAML cut at a line is valid and weaker: here the last line says who may pass."""
    path = appliance.policy.with_name("shut.yaml")
    lines = [
        "routes:\n  - name: slow\n    path: /ms-system/slow\n    upstream: country\n",
        "    require:\n      audience: country-service\n",
        "      scopes: [country.write]\n",
    ]
    token = appliance.token()
    path.write_text("".join(lines))
    assert appliance.reload().status == 200
    assert appliance.get("/ms-system/slow", bearer=token).status == 403
    seen = set()
    for count in range(len(lines) + 1):
        path.write_text("".join(lines[:count]))
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            seen.add(appliance.get("/ms-system/slow", bearer=token).status)
            time.sleep(0.05)
    assert seen == {403}
