"""Guess secrets through proxies and without: who is slowed down is who guesses."""

GUESS = {"grant_type": "client_credentials", "client_id": "caller", "client_secret": "wrong"}
RIGHT = {**GUESS, "client_secret": "caller-secret"}
LIMITS = "limits: {auth_failures: {requests: 3, per: 10m}, loop_lag: 0}\n"


def ask(appliance, form, *addresses):
    return appliance.post_form(
        "/oauth2/token", form, headers={"X-Forwarded-For": ", ".join(addresses)}
    ).status


def test_behind_a_trusted_proxy_its_callers_are_told_apart(make):
    appliance = make(more=LIMITS + "trusted_proxies: [127.0.0.1/32]\n").start()
    assert [ask(appliance, GUESS, "192.0.2.1") for _ in range(4)] == [401, 401, 401, 429]
    assert ask(appliance, RIGHT, "192.0.2.1") == 429
    assert ask(appliance, RIGHT, "192.0.2.2") == 200
    # What stands before the last address is the caller's own invention.
    assert ask(appliance, GUESS, "198.51.100.7", "192.0.2.1") == 429
    # All of an IPv6 /64 are one.
    assert [ask(appliance, GUESS, f"2001:db8::{number}") for number in range(1, 5)] == [401, 401, 401, 429]
    assert ask(appliance, RIGHT, "2001:db8:0:1::1") == 200


def test_nobody_else_may_say_who_he_is(make):
    appliance = make(more=LIMITS).start()
    assert [ask(appliance, GUESS, f"192.0.2.{number}") for number in range(4)] == [401, 401, 401, 429]
    assert appliance.metric(
        'sidegate_client_auth_failures_total{auth_method="client_secret_post",reason="slowed_down"}'
    )
