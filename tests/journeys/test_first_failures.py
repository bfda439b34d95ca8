"""Show that what can fail is counted from the start on, so that no alert misses the first failure."""

import gzip
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.clients.assertions import AssertionReason
from gateway.observe import families
from gateway.observe.families import FAMILIES
from tests.journeys.conftest import call
from tests.support.alerts import ALERTS

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(appliance) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(appliance.admin("GET", "/metrics").body.decode())
        for sample in family.samples
    }


def at_zero(samples: Samples) -> set[str]:
    return {name for (name, _), value in samples.items() if value == 0 and name.startswith("sidegate_")}


def rows(samples: Samples, name: str) -> dict[frozenset[str], float]:
    return {
        frozenset(text for _, text in labels): value
        for (found, labels), value in samples.items()
        if found == name
    }


def test_counters_of_closed_lists_are_at_zero_on_a_fresh_process(appliance):
    first = scrape(appliance)
    samples = scrape(appliance)
    assert first.keys() - samples.keys() == set(), "what was there once goes on"
    expected = {family.sample_name for family in FAMILIES if family.from_start}
    unconfigured = (families.JWKS_FETCH, families.LEGACY_AUDIENCE, families.CLAIMS_LEFT_OUT)
    expected -= {family.sample_name for family in unconfigured}
    expected -= {families.LOOP_HELD.sample_name}  # on a busy machine it may have stood still already
    assert expected - at_zero(samples) == set()
    assert len(expected) >= 10
    reloads = rows(samples, "sidegate_config_reloads_total")
    assert len(reloads) == 4 * 3
    errors = rows(samples, "sidegate_upstream_errors_total")
    words = {"connect", "tls", "dns", "timeout", "reset", "protocol"}
    assert errors == {frozenset({"country", word}): 0 for word in words}
    failures = rows(samples, "sidegate_client_auth_failures_total")
    assert failures[frozenset({"client_secret_basic", "wrong_secret"})] == 0
    for reason in AssertionReason:
        for method in ("private_key_jwt", "client_secret_jwt", "jwt-bearer"):
            assert failures[frozenset({method, reason})] == 0
    assert len(failures) < 100


def test_what_alerts_count_is_there_on_a_fresh_process(make):
    """The very series that promtool's tests begin with (tests/system/test_alerts.py)."""
    appliance = make()
    identity = '{issuer: "https://platform.example", subject: job, jwks_uri: "https://127.0.0.1:9/jwks"}'
    policy = appliance.policy.read_text()
    appliance.policy.write_text(policy.replace("  other:\n", f"  other:\n    assertions: [{identity}]\n"))
    appliance.start()
    samples = scrape(appliance)
    for alert in ALERTS:
        for series, values in alert.series:
            name, labels = re.fullmatch(r"(\w+)\{(.*)\}", series).groups()
            if name.endswith("_total") and values.startswith("0x"):
                wanted = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                if "listener" in wanted:
                    wanted["listener"] = f"127.0.0.1:{appliance.port}"
                # A fetch may have failed, and a busy machine may have stood still, by now.
                assert samples[name, frozenset(wanted.items())] == 0 or "jwks" in name or "held" in name, (
                    series
                )


def test_ends_of_rights_and_ages_of_keys_are_timestamps(make):
    appliance = make()
    policy = appliance.policy.read_text()
    line = "scopes: [country.read, country.write]}"
    assert line in policy
    appliance.policy.write_text(policy.replace(line, f"{line[:-1]}, until: 2099-12-31}}"))
    appliance.start()
    samples = scrape(appliance)
    ends = rows(samples, "sidegate_authorization_until_timestamp_seconds")
    assert ends == {frozenset({"caller", "country-service"}): datetime(2100, 1, 1, tzinfo=UTC).timestamp()}
    ((kid,),) = rows(samples, "sidegate_signing_key_created_timestamp_seconds")
    (info,) = rows(samples, "sidegate_signing_key_info")
    assert kid in info
    (created,) = rows(samples, "sidegate_signing_key_created_timestamp_seconds").values()
    assert time.time() - 60 < created <= time.time()


def test_a_retiring_key_tells_from_when_on_it_may_go(appliance, wait_until):
    name = "sidegate_signing_key_not_after_timestamp_seconds"
    assert rows(scrape(appliance), name) == {}, "a key that signs has no end"
    ((first,),) = rows(scrape(appliance), "sidegate_signing_key_created_timestamp_seconds")
    before = time.time()
    rotated = appliance.cli("keys", "rotate", "--now")
    assert rotated.returncode == 0, rotated.stderr
    appliance.hang_up()
    ends = wait_until(lambda: rows(scrape(appliance), name), "the end of the former key")
    assert list(ends) == [frozenset({first})]
    (at,) = ends.values()
    lifetime_s = 3600.0
    assert before + lifetime_s - 1 <= at <= time.time() + lifetime_s + 60


def test_gauges_are_at_zero_before_and_after(appliance, wait_until):
    def in_flight():
        return rows(scrape(appliance), "sidegate_http_requests_in_flight")

    quiet = {frozenset({"read-country"}): 0, frozenset({"_issuer_"}): 0}
    listener = f"127.0.0.1:{appliance.port}"
    none = {frozenset({listener, state}): 0 for state in ("active", "idle", "upgraded")}
    assert in_flight() == quiet
    assert rows(scrape(appliance), "sidegate_connections") == none
    assert appliance.get("/nowhere").status == 404
    wait_until(lambda: rows(scrape(appliance), "sidegate_connections") == none, "the connection to be gone")
    assert in_flight() == quiet


def test_both_formats_are_read_by_the_library(appliance):
    appliance.get("/ms-system/country/code/AUS", bearer=appliance.token())
    found = {}
    for accept, parser in (("text/plain", parse), ("application/openmetrics-text", parse_openmetrics)):
        fields = {"Accept": accept, "Accept-Encoding": "gzip", "Host": "localhost"}
        answer = call(appliance.admin_port, "GET", "/metrics", headers=fields)
        assert answer.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(answer.body).decode()
        found[accept] = {family.name for family in parser(text) if family.name.startswith("sidegate_")}
        assert len(answer.body) < len(text) / 5
    assert found["text/plain"] == found["application/openmetrics-text"]


def test_each_first_failure_moves_a_counter_that_was_there(appliance, wait_until):
    before = scrape(appliance)
    form = {"grant_type": "client_credentials"}
    assert appliance.post_form("/oauth2/token", form, basic=("caller", "wrong")).status == 401
    appliance.main.write_text(appliance.main.read_text() + "nonsense: 1\n")
    assert not appliance.hang_up()["applied"]
    appliance.get("/ms-system/country/code/AUS", bearer="not.a.token")
    moved = {
        "sidegate_client_auth_failures_total": {"client_secret_basic", "wrong_secret"},
        "sidegate_config_reloads_total": {"invalid", "signal"},
        "sidegate_token_verify_total": {f"http://127.0.0.1:{appliance.port}", "malformed_token", "miss"},
    }
    after = wait_until(
        lambda: (
            all(rows(scrape(appliance), name)[frozenset(words)] for name, words in moved.items())
            and scrape(appliance)
        ),
        "the counters to move",
    )
    for name, words in moved.items():
        assert (rows(before, name)[frozenset(words)], rows(after, name)[frozenset(words)]) == (0, 1)
