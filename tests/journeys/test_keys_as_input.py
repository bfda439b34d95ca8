"""Show that keys are an input of their own: dropped in, replaced, deleted, unmounted, put back.

Nobody tells the process of any of it, and the configuration is not touched by it: policies go on
reloading without a key, and a new key compiles no route. Except under `make soak` the watch looks five
times as often as it ships.
"""

import base64
import json
import os
import sys
from pathlib import Path

import pytest

from tests.journeys.conftest import wait_for
from tests.journeys.test_scale import large_policy

FULL = bool(os.environ.get("SIDEGATE_SOAK"))
QUICK_WATCH = Path(__file__).parent.parent / "support" / "quick_watch.py"
INTERVAL_S = 1.0 if FULL else 0.2
NOTICED_WITHIN_S = 12.0
"""A new file counts when nothing changed for five looks."""
MANY_ROUTES = 10_000 if FULL else 1_000
MOST_MORE_CPU_S = 0.25
"""What a new key may cost more beside 10 000 routes than beside one. Compiling them takes seconds."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

MORE = "routes: [{name: more, path: /more, upstream: country, access: public}]\n"


class Keys:
    """The key directory of a process, and what the process makes of it."""

    def __init__(self, appliance):
        self.appliance = appliance
        self.directory = appliance.directory / "keys"

    @property
    def files(self):
        return sorted(self.directory.glob("*.pem"))

    def generate(self):
        """Make a key as an operator does; return its file."""
        before = set(self.files)
        made = self.appliance.cli("keys", "generate")
        assert made.returncode == 0, made.stderr
        (file,) = set(self.files) - before
        return file

    def published(self):
        answer = self.appliance.get("/.well-known/jwks.json")
        return {key["kid"] for key in answer.json["keys"]} if answer.status == 200 else set()

    def listed(self):
        return [key["kid"] for key in self.appliance.status["keys"]]

    def degraded(self):
        return [entry["name"] for entry in self.appliance.admin("GET", "/readyz").json["degraded"]]

    def is_ready(self):
        """Return whether /readyz is 200; where it is not, the keys are why."""
        answer = self.appliance.admin("GET", "/readyz")
        failed = [name for name, check in answer.json["checks"].items() if not check["ok"]]
        assert failed == ([] if answer.status == 200 else ["keys"])
        return answer.status == 200


def watching_quickly(appliance):
    appliance.started_by = (sys.executable, QUICK_WATCH, str(INTERVAL_S))
    return appliance


@pytest.fixture
def appliance(make):
    return watching_quickly(make()).start()


@pytest.fixture
def keys(appliance):
    return Keys(appliance)


def kid_of(token):
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def noticed(condition, what, **more):
    wait_for(condition, what, patience_s=NOTICED_WITHIN_S, **more)


def passes(appliance, token):
    """Return whether a token passes; where it does not, its key is not known."""
    answer = appliance.get(bearer=token)
    assert (answer.status, answer.reason) in ((200, None), (401, "unknown_key"))
    return answer.status == 200


def test_a_key_is_dropped_in_replaced_and_deleted(appliance, keys):
    (first,) = keys.listed()
    (first_file,) = keys.files
    token = appliance.token()
    assert passes(appliance, token)
    loaded_at = appliance.status["configuration"]["loaded_at"]

    second_file = keys.generate()
    noticed(lambda: len(keys.published()) == 2, "the new key to be published")
    (second,) = keys.published() - {first}
    assert keys.listed() == [first, second]
    assert kid_of(appliance.token()) == first

    os.replace(second_file, first_file)  # the leaked one is gone, the other one lies in its place
    noticed(lambda: keys.published() == {second}, "the replaced key to be gone")
    assert not passes(appliance, token)
    assert keys.listed() == [second]
    newer = appliance.token()
    assert kid_of(newer) == second
    assert passes(appliance, newer)

    keys.generate()
    noticed(lambda: len(keys.published()) == 2, "a third key")
    first_file.unlink()
    noticed(lambda: second not in keys.published(), "the deleted key to be gone")
    assert not passes(appliance, newer)
    assert passes(appliance, appliance.token())
    assert (keys.is_ready(), keys.degraded()) == (True, [])
    assert appliance.status["configuration"]["loaded_at"] == loaded_at, "no route was compiled for a key"


def test_the_last_key_is_deleted_and_put_back(appliance, keys):
    (first,) = keys.listed()
    (file,) = keys.files
    token = appliance.token()
    assert passes(appliance, token)
    octets, mode = file.read_bytes(), file.stat().st_mode
    file.unlink()
    noticed(lambda: not keys.is_ready(), "the missing key to be noticed")
    assert not passes(appliance, token), "though its token was cached"
    refused = appliance.ask_token(scope="country.read")
    assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert keys.published() == set()
    assert keys.listed() == []
    assert appliance.get().status == 401, "no token is no token"

    policy = appliance.policy.read_text()
    appliance.policy.with_name("more.yaml").write_text(MORE)
    appliance.policy.write_text(
        policy.replace("  caller:\n", "  caller:\n    disabled: true\n").split("tests:")[0]
    )
    assert appliance.reload().status == 200, "policies go on reloading"
    assert appliance.get("/more").status == 200
    assert not passes(appliance, token)
    assert not keys.is_ready()
    appliance.policy.write_text(policy)
    assert appliance.reload().status == 200

    file.write_bytes(octets)
    file.chmod(mode)
    noticed(keys.is_ready, "the key that was put back")
    assert passes(appliance, token)
    assert keys.published() == {first} == {kid_of(appliance.token())}
    assert (keys.listed(), keys.degraded()) == ([first], [])
    assert appliance.get("/more").status == 200


def take_away(directory, aside):
    directory.rename(aside)


def leave_an_empty_one(directory, aside):
    directory.rename(aside)
    directory.mkdir(mode=0o700)


@pytest.mark.parametrize("unmount", [take_away, leave_an_empty_one])
def test_a_volume_that_is_away_takes_no_key_with_it(appliance, keys, unmount):
    """The folder of a mount point is not the directory that the keys were read from."""
    (first,) = keys.listed()
    token = appliance.token()
    aside = keys.directory.with_name("volume")
    unmount(keys.directory, aside)
    noticed(lambda: keys.degraded() == ["keys"], "the missing volume to be told")
    assert keys.is_ready()
    assert passes(appliance, token)
    assert keys.published() == {first} == {kid_of(appliance.token())}
    assert keys.listed() == [first]
    assert appliance.metric('sidegate_source_last_load_successful{source="keys"}') == 0

    appliance.policy.with_name("more.yaml").write_text(MORE)
    assert appliance.reload().status == 200, "policies go on reloading"
    assert appliance.get("/more").status == 200
    assert (keys.degraded(), passes(appliance, token)) == (["keys"], True)

    if keys.directory.exists():
        keys.directory.rmdir()
    aside.rename(keys.directory)
    noticed(lambda: keys.degraded() == [], "the volume that is back")
    assert passes(appliance, token)
    assert keys.listed() == [first]


def test_a_volume_with_other_keys_is_another_input(appliance, keys):
    """A mounted secret is swapped whole: what lies in the new directory counts, nothing else."""
    (first,) = keys.listed()
    token = appliance.token()
    second_file = keys.generate()
    noticed(lambda: len(keys.published()) == 2, "the new key to be published")
    (second,) = keys.published() - {first}
    other = keys.directory.with_name("other")
    other.mkdir(mode=0o700)
    os.replace(second_file, other / second_file.name)
    keys.directory.rename(keys.directory.with_name("former"))
    other.rename(keys.directory)
    noticed(lambda: keys.published() == {second}, "the keys of the new volume")
    assert not passes(appliance, token)
    assert kid_of(appliance.token()) == second
    assert keys.degraded() == []


def cpu_s(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def cost_of_a_new_key(appliance):
    """Return the processor seconds that a key costs from being dropped in until it is published."""
    keys = Keys(appliance)
    made = keys.generate()
    outside = keys.directory.with_name(made.name)
    made.rename(outside)
    # The states name the new key already: they are taken up first, so that then only the key is new.
    assert appliance.reload().status == 200
    before = cpu_s(appliance.process)
    outside.rename(made)
    noticed(lambda: len(keys.published()) == 2, "the new key to be published", poll_s=0.5)
    return cpu_s(appliance.process) - before


def cost_of_a_reload(appliance):
    before = cpu_s(appliance.process)
    assert appliance.reload().status == 200
    return cpu_s(appliance.process) - before


def test_a_new_key_compiles_nothing_beside_many_routes(make, record_property):
    many = watching_quickly(make())
    many.policy.with_name("large.yaml").write_text(large_policy(MANY_ROUTES))
    many.start()
    costs = {"a key": cost_of_a_new_key(many), "a reload": cost_of_a_reload(many)}
    if FULL:
        costs["a key beside one route"] = cost_of_a_new_key(watching_quickly(make()).start())
        assert costs["a key"] - costs["a key beside one route"] < MOST_MORE_CPU_S
    record_property("cpu_s", costs)
    print(costs)
    assert costs["a key"] < costs["a reload"] / 2
