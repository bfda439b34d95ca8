"""Rotate the signing key by commands while callers and a service that checks for itself go on."""

import json
import threading
import time
from base64 import urlsafe_b64decode

from gateway.tokens.rotation import TAKEN_UP_S
from tests.journeys.conftest import POLICY

PUBLISH_AHEAD_S = 4
LIFETIME_S = 2
PAUSE_S = 0.03
"""Between the calls of a caller: many fall into every state of a key, and the machine is not full."""


def kid_of(token):
    head = token.partition(".")[0]
    return json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def succeeds(appliance, command, kid):
    """Return whether a `keys` command was carried out; what keeps it from that can only be the time."""
    done = appliance.cli("keys", command, kid)
    assert done.returncode == 0 or "too early" in done.stderr, done.stderr
    return done.returncode == 0


def since(appliance, kid):
    """Return when a key took the state that it has."""
    states = json.loads((appliance.directory / "keys" / "states.json").read_bytes())
    return states["keys"][kid]["since"]


class Callers:
    """Get tokens and call with them, over and over; a service keeps a copy of the JWKS and checks each."""

    def __init__(self, appliance):
        self.appliance = appliance
        self.statuses = []
        self.unknown = []
        """The `kid` of tokens that the service's copy did not know when they were issued."""
        self.signed_by = []
        self.copy = frozenset(self.fetch())
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self.call, self.poll)]

    def fetch(self):
        answer = self.appliance.get("/.well-known/jwks.json")
        return {key["kid"] for key in answer.json["keys"]}

    def poll(self):
        while not self.stop.wait(PUBLISH_AHEAD_S / 2):  # as often as publish_ahead is made for
            self.copy = frozenset(self.fetch())

    def call(self):
        while not self.stop.wait(PAUSE_S):
            answer = self.appliance.ask_token(scope="country.read")
            self.statuses.append(answer.status)
            if answer.status != 200:
                continue
            token = answer.json["access_token"]
            self.signed_by.append(kid_of(token))
            if kid_of(token) not in self.copy:
                self.unknown.append(kid_of(token))
            self.statuses.append(self.appliance.get(bearer=token).status)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_a_rotation_by_commands_is_noticed_by_nobody(make, wait_until):
    policy = POLICY.replace("  caller:\n", f"  caller:\n    token_lifetime: {LIFETIME_S}s\n")
    more = f"keys: {{publish_ahead: {PUBLISH_AHEAD_S}s}}\n"
    appliance = make(policy=policy, more=more)
    appliance.main.write_text(
        appliance.main.read_text().replace("issuer: {", f"issuer: {{token_lifetime: {LIFETIME_S}s, ")
    )
    appliance.start()
    (former,) = (row.split()[0] for row in appliance.cli("keys", "list").stdout.splitlines())
    with Callers(appliance) as callers:
        made = appliance.cli("keys", "generate")
        fresh = made.stdout.split()[0]
        assert "next" in made.stdout
        published_at = since(appliance, fresh)
        wait_until(lambda: callers.fetch() == {former, fresh}, "both keys to be published")
        wait_until(lambda: succeeds(appliance, "activate", fresh), "publish_ahead", patience_s=60, poll_s=1)
        assert time.time() >= published_at + PUBLISH_AHEAD_S + TAKEN_UP_S
        left_at = since(appliance, former)
        wait_until(lambda: callers.signed_by[-1] == fresh, "the new key to sign")
        assert callers.fetch() == {former, fresh}

        wait_until(
            lambda: succeeds(appliance, "retire", former), "its last token to end", patience_s=60, poll_s=1
        )
        assert time.time() >= left_at + LIFETIME_S + TAKEN_UP_S
        wait_until(lambda: callers.fetch() == {fresh}, "the former key to go")
        counted = len(callers.statuses)
        wait_until(lambda: len(callers.statuses) > counted + 20, "more calls")
    assert set(callers.statuses) == {200}
    assert callers.unknown == []
    assert set(callers.signed_by) == {former, fresh}
    assert len(callers.statuses) > 100


def test_a_key_that_leaked_is_replaced_at_once(appliance, wait_until):
    token = appliance.token()
    assert appliance.get(bearer=token).status == 200
    leaked = kid_of(token)
    assert appliance.cli("keys", "rotate", "--now").returncode == 0
    assert appliance.cli("keys", "retire", leaked, "--now").returncode == 0
    assert appliance.reload().status == 200
    assert appliance.get(bearer=token).reason == "unknown_key"
    begun = time.monotonic()
    wait_until(lambda: kid_of(appliance.token()) != leaked, "the new key to sign")
    assert time.monotonic() - begun < 10
