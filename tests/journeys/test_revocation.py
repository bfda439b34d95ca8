"""Show that a revocation answered with 200 outlives the process, however that ends."""

import signal

import pytest


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_revocation_survives_the_process(make, number):
    appliance = make(state="sqlite:state/sidegate.db").start()
    revoked, kept = appliance.token(), appliance.token()
    assert appliance.get(bearer=revoked).status == 200
    answer = appliance.revoke(revoked)
    assert (answer.status, answer.body) == (200, b"")
    appliance.signal(number)
    assert appliance.wait() in (0, -signal.SIGKILL)
    appliance.start()
    refused = appliance.get(bearer=revoked)
    assert (refused.status, refused.reason) == (401, "revoked")
    assert appliance.introspect(revoked) == {"active": False}
    assert appliance.get(bearer=kept).status == 200
    assert appliance.introspect(kept)["active"] is True


def test_another_client_cannot_revoke_it(appliance):
    token = appliance.token()
    refused = appliance.revoke(token, "other")
    assert (refused.status, refused.json["error"]) == (400, "unauthorized_client")
    assert appliance.get(bearer=token).status == 200
