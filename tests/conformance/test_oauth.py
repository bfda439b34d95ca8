"""Hold the running process to the RFCs of OAuth, one row per rule: `rfcNNNN.py` beside this file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.conftest import Start
from tests.conformance.page import ROWS, page
from tests.conformance.rfc8414 import METADATA
from tests.conformance.rows import (
    INACTIVE,
    INTROSPECT,
    READ,
    REVOKE,
    TOKEN,
    Ask,
    Look,
    Row,
    as_client,
    parts,
    refusals_without_twin,
    wrong,
)
from tests.conformance.world import World

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(world: World, row: Row) -> None:
    world.hold(row)


def test_every_refusal_has_an_accepted_twin() -> None:
    assert len(ROWS) >= 200
    assert refusals_without_twin(ROWS) == []


def test_every_acceptance_is_looked_at() -> None:
    unseen = [str(row) for row in ROWS if row.status < 400 and not (row.look or row.fields)]
    assert unseen == []


@pytest.mark.parametrize("look", [lambda _: None, lambda _: 0, lambda _: ""], ids=["None", "0", "''"])
def test_a_look_that_finds_nothing_fails_its_row(world: World, look: Look) -> None:
    with pytest.raises(AssertionError):
        world.hold(Row("none", "none", TOKEN, 200, look=look))


@pytest.mark.parametrize(("ask", "live"), [(REVOKE, True), (wrong(REVOKE), False)], ids=["gone", "there"])
def test_a_token_in_another_state_than_its_row_says_fails_it(world: World, ask: Ask, live: bool) -> None:
    status = world.send(ask).status
    with pytest.raises(AssertionError):
        world.hold(Row("none", "none", ask, status, live_after=live))


def test_the_page_shows_these_rows() -> None:
    assert PAGE.read_text() == page(), ".venv/bin/python -m tests.conformance.page docs/conformance.md"


# --- rules that one request does not show


def test_rfc_7009_2_1_a_refused_revocation_leaves_the_token_alive(world: World) -> None:
    token = world.token()
    assert world.send(as_client(REVOKE, "other").having(token=token)).status == 400
    assert world.send(INTROSPECT.having(token=token)).json["active"] is True
    assert world.send(REVOKE.having(token=token, token_type_hint="refresh_token")).status == 200
    assert world.send(INTROSPECT.having(token=token)).body == INACTIVE


def test_rfc_6749_2_3_1_guessing_is_slowed_down(start: Start) -> None:
    world = start()
    statuses = [world.send(wrong(TOKEN)).status for _ in range(51)]
    assert statuses == [401] * 50 + [429]
    slowed = world.send(TOKEN)
    assert (slowed.status, slowed.json["error"]) == (429, "temporarily_unavailable")
    assert int(slowed.one("Retry-After") or 0) > 0
    assert world.send(as_client(TOKEN, "other")).status == 200


def test_rfc_8414_3_1_the_well_known_part_goes_before_the_path(start: Start) -> None:
    world = start(prefix="/tenant")
    url = METADATA.path + "/tenant"
    document = replace(world, prefix="").send(Ask("GET", url)).json
    # 3.3: byte for byte what tokens say.
    assert document["issuer"] == world.issuer
    assert parts(world.send(TOKEN))[1]["iss"] == world.issuer
    assert document["token_endpoint"] == world.issuer + "/oauth2/token"


@pytest.mark.parametrize("alg", ["RS256", "PS256", "EdDSA"])
def test_rfc_9068_2_1_other_algorithms_are_supported(start: Start, alg: str) -> None:
    world = start(alg=alg)
    header, _ = parts(world.send(TOKEN))
    assert header["alg"] == alg
    assert world.send(READ).status == 200
    keys = json.loads(world.send(Ask("GET", "/.well-known/jwks.json")).body)["keys"]
    assert [key["alg"] for key in keys if key["kid"] == header["kid"]] == [alg]
