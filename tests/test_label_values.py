"""Show that what people are told of a closed list is the list."""

import re

import pytest

from gateway.http1.claim_fields import LeftOut
from gateway.issuer.uses import KINDS
from gateway.label_values import LOGIN_FAILURES, UPSTREAM_FAILURES
from gateway.oauth_names import auth_methods
from gateway.observe import families
from gateway.observe.families import Family
from gateway.policy.rate_limits import BAD_TOKENS, ROUTE_LIMIT
from gateway.proxy.admission import CONNECTIONS_PER_PEER
from gateway.proxy.downstream import STATES
from gateway.proxy.health import CircuitState
from gateway.proxy.listener import REFUSALS
from gateway.reload.source import Cause, Result
from gateway.tokens.jwks_client import FetchResult
from gateway.tokens.keyfiles import KeyState

LISTS = [
    (families.CONFIG_RELOADS, "result", Result),
    (families.CONFIG_RELOADS, "cause", Cause),
    (families.UPSTREAM_ERRORS, "reason", UPSTREAM_FAILURES),
    (families.JWKS_FETCH, "result", FetchResult),
    (families.REPLAY_REJECTED, "kind", KINDS),
    (families.RATE_LIMITED, "limit", (ROUTE_LIMIT, BAD_TOKENS, CONNECTIONS_PER_PEER)),
    (families.CONNECTIONS, "state", STATES),
    (families.CONNECTIONS_REFUSED, "reason", REFUSALS),
    (families.UPSTREAM_CIRCUIT, "state", CircuitState),
    (families.CLAIMS_LEFT_OUT, "cause", LeftOut),
    (families.SIGNING_KEY_INFO, "state", KeyState),
    (families.LABEL_OVERFLOW, "label", families.LIMITED),
]


@pytest.mark.parametrize(("family", "label", "words"), LISTS)
def test_the_table_of_families_tells_the_whole_list(
    family: Family, label: str, words: tuple[str, ...]
) -> None:
    told = family.meanings[family.labels.index(label)]
    assert re.findall(r"`([^`]+)`", told) == [str(word) for word in words]


def test_every_way_to_prove_a_client_can_fail_by_known_words() -> None:
    assert set(auth_methods()) < set(LOGIN_FAILURES)
