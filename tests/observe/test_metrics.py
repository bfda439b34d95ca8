"""Show what each event does to each family."""

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.observe import families
from gateway.observe.exchange import NOT_APPLICABLE, Exchange
from gateway.observe.exposition import Exposition, render_families
from gateway.observe.families import GaugeSample
from gateway.observe.metrics import Metrics
from gateway.observe.series import Histogram, LabelLimit
from gateway.settings.model import MetricsSettings

AT = 1_763_731_205.1239
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def make_metrics(settings: MetricsSettings | None = None) -> Metrics:
    return Metrics(
        settings or MetricsSettings(), issuer="http://issuer.example", version="1.2.3", uvloop_version="0.23"
    )


def make_exchange(**fields: object) -> Exchange:
    values: dict[str, object] = {
        "at": AT,
        "method": "GET",
        "route": "read",
        "reason": "ok",
        "decision": "allow",
        "status": 200,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "upstream": "country",
        "attempts": 1,
        "response_bytes": 41,
        "duration_s": 0.002,
        "overhead_s": 0.0003,
        "decision_s": 0.00002,
        "ttfb_s": 0.0015,
        "upstream_s": 0.0017,
    }
    return Exchange(**(values | fields))  # type: ignore[arg-type]


def scrape(metrics: Metrics) -> Samples:
    text = "".join(render_families(metrics.collect(), openmetrics=False))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def test_a_forwarded_request_moves_every_request_and_upstream_family() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(request_bytes=300, connect_s=0.0004)])
    samples = scrape(metrics)
    ones = [
        ("sidegate_http_requests_total", {"route": "read", "method": "GET", "code": "200", "reason": "ok"}),
        ("sidegate_http_request_duration_seconds_count", {"route": "read", "code_class": "2xx"}),
        (
            "sidegate_http_request_duration_seconds_bucket",
            {"route": "read", "code_class": "2xx", "le": "0.0025"},
        ),
        ("sidegate_http_overhead_seconds_bucket", {"route": "read", "le": "0.0005"}),
        ("sidegate_http_request_body_bytes_bucket", {"route": "read", "le": "1024.0"}),
        ("sidegate_http_response_body_bytes_bucket", {"route": "read", "le": "256.0"}),
        ("sidegate_decisions_total", {"route": "read", "decision": "allow", "reason": "ok"}),
        ("sidegate_decision_duration_seconds_bucket", {"route": "read", "le": "5e-05"}),
        (
            "sidegate_upstream_requests_total",
            {"upstream": "country", "code_class": "2xx", "attempt": "first"},
        ),
        ("sidegate_upstream_duration_seconds_count", {"upstream": "country", "phase": "connect"}),
        ("sidegate_upstream_duration_seconds_count", {"upstream": "country", "phase": "ttfb"}),
        ("sidegate_upstream_duration_seconds_count", {"upstream": "country", "phase": "total"}),
    ]
    assert [(name, labels) for name, labels in ones if value(samples, name, **labels) != 1] == []
    zeros = [
        (
            "sidegate_http_request_duration_seconds_bucket",
            {"route": "read", "code_class": "2xx", "le": "0.001"},
        ),
        ("sidegate_http_request_body_bytes_bucket", {"route": "read", "le": "256.0"}),
    ]
    assert [(name, labels) for name, labels in zeros if value(samples, name, **labels) != 0] == []
    assert value(samples, "sidegate_http_request_body_bytes_sum", route="read") == 300
    assert "sidegate_upstream_errors_total" not in names(samples)


def test_a_refused_request_leaves_the_upstream_families_alone() -> None:
    metrics = make_metrics()
    refused = make_exchange(
        status=403,
        reason="missing_scope",
        decision="deny",
        upstream="",
        attempts=0,
        ttfb_s=NOT_APPLICABLE,
        upstream_s=NOT_APPLICABLE,
    )
    metrics.absorb([refused])
    samples = scrape(metrics)
    assert (
        value(samples, "sidegate_decisions_total", route="read", decision="deny", reason="missing_scope") == 1
    )
    assert not [name for name in names(samples) if name.startswith("sidegate_upstream")]


@pytest.mark.parametrize("decision_s", [NOT_APPLICABLE, 0.00002])
def test_a_request_without_decision_counts_no_decision(decision_s: float) -> None:
    metrics = make_metrics()
    metrics.absorb(
        [
            make_exchange(
                route="",
                method="",
                status=0,
                reason="bad_framing",
                decision="",
                upstream="",
                decision_s=decision_s,
            )
        ]
    )
    samples = scrape(metrics)
    request = {"route": "_none_", "method": "_OTHER", "code": "none", "reason": "bad_framing"}
    assert value(samples, "sidegate_http_requests_total", **request) == 1
    assert not [name for name in names(samples) if "decision" in name]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {("2xx", "first"): 1}),
        ({"attempts": 0}, {}),
        ({"attempts": 2}, {("none", "first"): 1, ("2xx", "retry"): 1}),
        ({"attempts": 4}, {("none", "first"): 1, ("none", "retry"): 2, ("2xx", "retry"): 1}),
        (
            {"status": 502, "reason": "upstream_connect", "ttfb_s": NOT_APPLICABLE},
            {("none", "first"): 1},
        ),
        (
            {"status": 504, "reason": "upstream_timeout", "ttfb_s": NOT_APPLICABLE, "attempts": 2},
            {("none", "first"): 1, ("none", "retry"): 1},
        ),
        ({"status": 502, "reason": "ok"}, {("5xx", "first"): 1}),
    ],
)
def test_attempts_at_an_upstream(fields: dict[str, object], expected: dict[tuple[str, str], int]) -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(**fields)])
    found = {
        (dict(labels)["code_class"], dict(labels)["attempt"]): count
        for (name, labels), count in scrape(metrics).items()
        if name == "sidegate_upstream_requests_total"
    }
    assert found == expected


def test_an_upstream_failure_is_an_upstream_error() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(status=502, reason="upstream_reset", ttfb_s=NOT_APPLICABLE)] * 3)
    assert value(scrape(metrics), "sidegate_upstream_errors_total", upstream="country", reason="reset") == 3


def test_a_connection_that_was_not_opened_is_counted_by_its_attempts() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(status=502, reason="upstream_connect", ttfb_s=NOT_APPLICABLE, attempts=0)])
    assert "sidegate_upstream_errors_total" not in names(scrape(metrics))
    metrics.upstream_failed("country", "tls", 2)
    metrics.upstream_failed("country", "tls", 1)
    metrics.upstream_failed("other", "dns", 1)
    samples = scrape(metrics)
    assert value(samples, "sidegate_upstream_errors_total", upstream="country", reason="tls") == 3
    assert value(samples, "sidegate_upstream_errors_total", upstream="other", reason="dns") == 1


def test_unknown_methods_share_one_series_and_are_not_remembered() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(method=f"M{number}") for number in range(1000)])
    labels = {"route": "read", "method": "_OTHER", "code": "200", "reason": "ok"}
    assert value(scrape(metrics), "sidegate_http_requests_total", **labels) == 1000
    assert len(metrics._requests._routes["read"].outcomes) == 1


def test_negative_times_count_as_zero() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(duration_s=-1.0, overhead_s=-0.5)])
    samples = scrape(metrics)
    assert value(samples, "sidegate_http_overhead_seconds_sum", route="read") == 0
    assert value(samples, "sidegate_http_request_duration_seconds_sum", route="read", code_class="2xx") == 0


def test_routes_and_upstreams_beyond_the_limit_are_folded_and_counted() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=2))
    metrics.absorb([make_exchange(route=f"r{n}", upstream=f"u{n}") for n in (0, 1, 2, 3, 3)])
    samples = scrape(metrics)
    routes = {dict(labels)["route"] for name, labels in samples if name == "sidegate_http_requests_total"}
    upstreams = {
        dict(labels)["upstream"] for name, labels in samples if name == "sidegate_upstream_requests_total"
    }
    assert routes == {"r0", "r1", "_other_"}
    assert upstreams == {"u0", "u1", "_other_"}
    folded = {"route": "_other_", "method": "GET", "code": "200", "reason": "ok"}
    assert value(samples, "sidegate_http_requests_total", **folded) == 3
    assert value(samples, "sidegate_metrics_label_overflow_total", label="route") == 3
    assert value(samples, "sidegate_metrics_label_overflow_total", label="upstream") == 3


def test_clients_and_audiences_beyond_the_limit_are_folded_and_counted() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=1))
    for number in range(3):
        metrics.token_issued(f"c{number}", f"a{number}", "client_credentials", 3600.0)
        metrics.token_request("client_credentials", "client_secret_basic", f"c{number}", "ok", 0.001)
    samples = scrape(metrics)
    assert value(samples, "sidegate_tokens_issued_total", client="c0", audience="a0") == 1
    assert value(samples, "sidegate_tokens_issued_total", client="_other_", audience="_other_") == 2
    assert value(samples, "sidegate_metrics_label_overflow_total", label="client") == 4
    assert value(samples, "sidegate_metrics_label_overflow_total", label="audience") == 2


def test_a_limit_of_zero_admits_everything() -> None:
    limit = LabelLimit(0)
    assert [limit.admit(str(number)) for number in range(3)] == ["0", "1", "2"]


def test_series_of_deleted_routes_go_after_one_more_scrape() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=2))
    metrics.absorb([make_exchange(route="old"), make_exchange(route="kept"), make_exchange(route="")])

    def routes() -> set[str]:
        return {
            dict(labels)["route"]
            for name, labels in scrape(metrics)
            if name == "sidegate_http_requests_total"
        }

    metrics.take_names({"route": {"kept", "new"}}, ())
    assert routes() == {"old", "kept", "_none_"}
    assert routes() == {"kept", "_none_"}
    metrics.absorb([make_exchange(route="new")])
    assert routes() == {"kept", "new", "_none_"}, "the deleted route's place under the limit is free again"


def test_a_late_request_on_a_deleted_route_is_shown_once() -> None:
    metrics = make_metrics()
    metrics.take_names({"route": {"kept"}}, ())
    metrics.absorb([make_exchange(route="old")])
    name = "sidegate_http_requests_total"
    labels = {"route": "old", "method": "GET", "code": "200", "reason": "ok"}
    assert value(scrape(metrics), name, **labels) == 1
    assert value(scrape(metrics), name, **labels) is None


def test_a_route_that_returns_before_the_scrape_stays() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(route="back")])
    metrics.take_names({"route": frozenset()}, ())
    metrics.take_names({"route": {"back"}}, ())
    labels = {"route": "back", "method": "GET", "code": "200", "reason": "ok"}
    scrape(metrics)
    assert value(scrape(metrics), "sidegate_http_requests_total", **labels) == 1


def test_a_counter_whose_labels_are_known_is_there_at_zero_and_keeps_what_it_counted() -> None:
    metrics = make_metrics()
    metrics.upstream_failed("country", "dns", 2)
    metrics.replay_rejected("client_assertion")
    at_zero = [
        (families.UPSTREAM_ERRORS, [("country", "dns"), ("country", "tls")]),
        (families.UPSTREAM_REQUESTS, [("country", "5xx", "retry")]),
        (families.REPLAY_REJECTED, [("client_assertion",), ("grant_assertion",)]),
    ]
    metrics.take_names({"upstream": {"country"}}, at_zero)
    samples = scrape(metrics)
    assert value(samples, "sidegate_upstream_errors_total", upstream="country", reason="dns") == 2
    assert value(samples, "sidegate_upstream_errors_total", upstream="country", reason="tls") == 0
    asked = {"upstream": "country", "code_class": "5xx", "attempt": "retry"}
    assert value(samples, "sidegate_upstream_requests_total", **asked) == 0
    assert value(samples, "sidegate_replay_rejected_total", kind="client_assertion") == 1
    assert value(samples, "sidegate_replay_rejected_total", kind="grant_assertion") == 0


def test_tokens_count_for_the_issuer_that_we_are_now() -> None:
    metrics = make_metrics()
    metrics.token_verify("ok", "hit")
    new = "https://new.example"
    back = metrics.take_names({"issuer": {new}}, [(families.TOKEN_VERIFY, [(new, "ok", "hit")])], issuer=new)
    metrics.token_verify("ok", "hit")
    name, labels = "sidegate_token_verify_total", {"result": "ok", "cache": "hit"}
    scrape(metrics)
    assert value(scrape(metrics), name, issuer=new, **labels) == 1
    back()
    metrics.token_verify("ok", "hit")
    assert value(scrape(metrics), name, issuer="http://issuer.example", **labels) == 2


def test_more_names_than_the_limit_wait_for_their_first_event() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=2))
    clients = {"a", "b", "c"}
    at_zero = [(families.LEGACY_AUDIENCE, [(name,) for name in clients])]
    metrics.take_names({"client": clients, "route": {"one"}}, at_zero)
    assert "sidegate_legacy_audience_total" not in names(scrape(metrics))
    assert (metrics.few_names("client"), metrics.few_names("route")) == (frozenset(), {"one"})
    metrics.legacy_audience("c")
    assert value(scrape(metrics), "sidegate_legacy_audience_total", client="c") == 1


def test_what_has_no_name_takes_no_place_and_never_goes() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=2))
    metrics.take_names({"client": {"one", "two"}}, ())
    metrics.token_request("client_credentials", "none", "_none_", "invalid_client", 0.001)
    metrics.absorb([make_exchange(client="", decision="deny", status=401, reason="no_token")])
    metrics.legacy_audience("one")
    metrics.legacy_audience("two")
    for _ in range(3):
        samples = scrape(metrics)
        nobody = {"grant": "client_credentials", "auth_method": "none", "client": "_none_"}
        assert value(samples, "sidegate_token_requests_total", **nobody, result="invalid_client") == 1
        assert value(samples, "sidegate_client_decisions_total", client="_none_", decision="deny") == 1
        assert value(samples, "sidegate_legacy_audience_total", client="two") == 1
        assert value(samples, "sidegate_metrics_label_overflow_total", label="client") == 0


def test_series_of_whatever_is_removed_go_after_one_more_scrape() -> None:
    metrics = make_metrics()
    metrics.token_issued("gone", "kept", "client_credentials", 60.0)
    metrics.token_issued("kept", "gone", "client_credentials", 60.0)
    metrics.token_issued("kept", "kept", "client_credentials", 60.0)
    metrics.token_request("client_credentials", "client_secret_basic", "gone", "ok", 0.001)
    metrics.legacy_audience("gone")
    metrics.jwks_fetch("https://gone.example", "ok")
    metrics.upstream_failed("gone", "dns", 1)
    metrics.rate_limited("gone", "rate_limit", 1)
    metrics.token_verify("ok", "hit")
    kept = {"kept"}
    metrics.take_names(
        {"route": kept, "upstream": kept, "client": kept, "audience": kept, "issuer": kept}, ()
    )

    def gone() -> set[str]:
        return {name for name, labels in scrape(metrics) if any("gone" in text for _, text in labels)}

    assert gone() >= {
        "sidegate_tokens_issued_total",
        "sidegate_token_requests_total",
        "sidegate_legacy_audience_total",
        "sidegate_jwks_fetch_total",
        "sidegate_upstream_errors_total",
        "sidegate_rate_limited_total",
    }
    samples = scrape(metrics)
    assert gone() == set()
    assert value(samples, "sidegate_tokens_issued_total", client="kept", audience="kept") == 1
    verify = {"issuer": "http://issuer.example", "result": "ok", "cache": "hit"}
    assert value(samples, "sidegate_token_verify_total", **verify) == 1


def test_decisions_are_counted_for_each_client_that_there_is() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=2))
    metrics.take_names({"client": {"a", "b"}}, [(families.CLIENT_DECISIONS, [("a", "deny")])])
    name = "sidegate_client_decisions_total"
    assert value(scrape(metrics), name, client="a", decision="deny") == 0
    metrics.absorb([make_exchange(client=client) for client in ("a", "a", "b", "", "gone")])
    metrics.absorb([make_exchange(client="a", decision="deny", status=403, reason="missing_scope")])
    metrics.absorb([make_exchange(client="a", decision="", status=400, reason="bad_path")])
    samples = scrape(metrics)
    counted = {
        (dict(labels)["client"], dict(labels)["decision"]): count
        for (found, labels), count in samples.items()
        if found == name
    }
    assert counted == {("a", "allow"): 2, ("b", "allow"): 1, ("_none_", "allow"): 2, ("a", "deny"): 1}
    metrics.absorb([make_exchange(client="b")])
    metrics.take_names({"client": {"a"}}, ())
    assert value(scrape(metrics), name, client="b", decision="allow") == 2, "what it did when it was there"
    assert value(scrape(metrics), name, client="b", decision="allow") is None


def test_clients_beyond_the_limit_share_their_decisions() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=1))
    metrics.absorb([make_exchange(client=client) for client in ("a", "b", "b", "c")])
    samples = scrape(metrics)
    assert value(samples, "sidegate_client_decisions_total", client="_other_", decision="allow") == 3
    assert value(samples, "sidegate_metrics_label_overflow_total", label="client") == 3


def test_of_several_ends_of_authorizations_the_first_is_told() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=1))
    ends = [("a", "x", 50.0), ("b", "y", 30.0), ("c", "z", 20.0)]
    metrics.gauges = lambda: metrics.authorization_ends(ends)
    name = "sidegate_authorization_until_timestamp_seconds"
    samples = scrape(metrics)
    assert value(samples, name, client="a", audience="x") == 50
    assert value(samples, name, client="_other_", audience="_other_") == 20


def test_an_upstream_that_is_removed_takes_nothing_from_its_routes_and_begins_anew() -> None:
    metrics = make_metrics()
    metrics.absorb([make_exchange(upstream="old"), make_exchange(upstream="new")])
    metrics.take_names({"upstream": {"new"}}, ())
    scrape(metrics)
    asked = {"upstream": "old", "code_class": "2xx", "attempt": "first"}
    requests = {"route": "read", "method": "GET", "code": "200", "reason": "ok"}
    samples = scrape(metrics)
    assert value(samples, "sidegate_upstream_requests_total", **asked) is None
    assert value(samples, "sidegate_http_requests_total", **requests) == 2
    metrics.take_names({"upstream": {"old", "new"}}, ())
    metrics.absorb([make_exchange(upstream="old")])
    samples = scrape(metrics)
    assert value(samples, "sidegate_upstream_requests_total", **asked) == 1
    assert value(samples, "sidegate_http_requests_total", **requests) == 3


@pytest.mark.parametrize(
    ("grant", "label"),
    [
        ("client_credentials", "client_credentials"),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", "jwt-bearer"),
        ("urn:ietf:params:oauth:grant-type:token-exchange", "token-exchange"),
        ("", "_none_"),
        ("password", "_OTHER"),
        ('x"\n\\', "_OTHER"),
    ],
)
def test_grants_are_a_closed_list(grant: str, label: str) -> None:
    metrics = make_metrics()
    metrics.token_request(grant, "", "", "unsupported_grant_type", 0.001)
    labels = {"grant": label, "auth_method": "_none_", "client": "_none_", "result": "unsupported_grant_type"}
    assert value(scrape(metrics), "sidegate_token_requests_total", **labels) == 1


@pytest.mark.parametrize(
    ("result", "result_class"), [("ok", "ok"), ("invalid_client", "refused"), ("server_error", "failed")]
)
def test_token_requests_are_timed_by_result_class(result: str, result_class: str) -> None:
    metrics = make_metrics()
    metrics.token_request("client_credentials", "client_secret_post", "c", result, 0.02)
    labels = {"grant": "client_credentials", "result_class": result_class}
    samples = scrape(metrics)
    name = "sidegate_token_request_duration_seconds"
    assert value(samples, f"{name}_bucket", **labels, le="0.025") == 1
    assert value(samples, f"{name}_bucket", **labels, le="0.01") == 0


def test_token_events() -> None:
    metrics = make_metrics()
    metrics.token_verify("ok", "hit")
    metrics.token_verify("ok", "hit")
    metrics.token_verify("expired", "miss")
    metrics.token_verify_seconds("ES256", 0.00009)
    metrics.token_issued("c", "a", "client_credentials", 3600.0)
    metrics.auth_failure("client_secret_basic", "wrong_secret")
    metrics.legacy_audience("c")
    samples = scrape(metrics)
    issuer = {"issuer": "http://issuer.example"}
    assert value(samples, "sidegate_token_verify_total", **issuer, result="ok", cache="hit") == 2
    assert value(samples, "sidegate_token_verify_total", **issuer, result="expired", cache="miss") == 1
    assert value(samples, "sidegate_token_verify_duration_seconds_bucket", alg="ES256", le="0.0001") == 1
    assert (
        value(samples, "sidegate_token_lifetime_seconds_bucket", grant="client_credentials", le="3600.0") == 1
    )
    failure = {"auth_method": "client_secret_basic", "reason": "wrong_secret"}
    assert value(samples, "sidegate_client_auth_failures_total", **failure) == 1
    assert value(samples, "sidegate_legacy_audience_total", client="c") == 1


def test_reloads_show_the_configuration_in_effect() -> None:
    metrics = make_metrics()
    assert "sidegate_config_info" not in names(scrape(metrics))
    metrics.config_loaded("aaa", 100.0)
    metrics.config_reload("ok", "signal", "bbb", 200.0)
    metrics.config_reload("invalid", "api", "ccc", 300.0)
    samples = scrape(metrics)
    assert value(samples, "sidegate_config_info", hash="bbb") == 1
    assert value(samples, "sidegate_config_info", hash="aaa") is None
    assert value(samples, "sidegate_config_last_reload_successful") == 0
    assert value(samples, "sidegate_config_last_reload_success_timestamp_seconds") == 200.0
    assert value(samples, "sidegate_config_reloads_total", result="ok", cause="signal") == 1
    assert value(samples, "sidegate_config_reloads_total", result="invalid", cause="api") == 1


def test_gauges_are_read_at_scrape_time_and_grouped_by_family() -> None:
    metrics = make_metrics()

    def gauges() -> Iterator[GaugeSample]:
        yield GaugeSample(families.CONNECTIONS, ("a", "idle"), 1)
        yield GaugeSample(families.RULES, (), 7)
        yield GaugeSample(families.CONNECTIONS, ("a", "active"), 2)

    metrics.gauges = gauges
    text = "".join(render_families(metrics.collect(), openmetrics=True)) + "# EOF\n"
    found = {family.name: len(family.samples) for family in parse_openmetrics(text)}
    assert found["sidegate_connections"] == 2
    assert found["sidegate_rules"] == 1


def test_routes_can_share_their_histograms() -> None:
    metrics = make_metrics(MetricsSettings(route_histograms=False))
    metrics.take_names({"route": {"a", "b"}}, ())
    metrics.absorb([make_exchange(route="a"), make_exchange(route="b"), make_exchange(route="b", status=404)])
    samples = scrape(metrics)
    duration = "sidegate_http_request_duration_seconds_count"
    assert value(samples, duration, route="_all_", code_class="2xx") == 2
    assert value(samples, duration, route="_all_", code_class="4xx") == 1
    for name in ("http_overhead_seconds", "http_request_body_bytes", "decision_duration_seconds"):
        assert value(samples, f"sidegate_{name}_count", route="_all_") == 3
    labelled = {name for name, labels in samples if dict(labels).get("route") in {"a", "b"}}
    assert labelled == {"sidegate_http_requests_total", "sidegate_decisions_total"}
    metrics.take_names({"route": {"b"}}, ())
    scrape(metrics)
    samples = scrape(metrics)
    assert value(samples, duration, route="_all_", code_class="2xx") == 2, "what was counted stays so"
    assert "a" not in {dict(labels).get("route") for _, labels in samples}


def test_configured_buckets_replace_those_of_request_durations() -> None:
    metrics = make_metrics(MetricsSettings(buckets=(0.5, 1.0)))
    metrics.absorb([make_exchange(duration_s=0.7)])
    found = {
        dict(labels)["le"]: count
        for (name, labels), count in scrape(metrics).items()
        if name == "sidegate_http_request_duration_seconds_bucket"
    }
    assert found == {"0.5": 0, "1.0": 1, "+Inf": 1}


@pytest.mark.parametrize(("observed", "bucket"), [(1.0, 0), (1.0001, 1), (2.0, 1), (3.0, 2), (0.0, 0)])
def test_a_bound_belongs_to_its_bucket(observed: float, bucket: int) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(observed)
    assert histogram.cells[bucket] == 1
    assert histogram.cells[-1] == observed


async def read_all(metrics: Metrics, accept: str) -> tuple[str, str, int]:
    rendering = Exposition(metrics).render(accept)
    chunks = [chunk async for chunk in rendering.chunks]
    return rendering.content_type, b"".join(chunks).decode(), len(chunks)


def fill(metrics: Metrics, routes: int) -> None:
    metrics.absorb(
        [make_exchange(route=f"route {n}", status=status) for n in range(routes) for status in (200, 404)]
    )
    metrics.token_issued('quote " backslash \\ newline \n end', "aud", "client_credentials", 60.0)
    metrics.token_verify("ok", "miss")
    metrics.loop_lag(0.003)
    metrics.config_loaded("abc", AT)


async def test_the_text_format_parses() -> None:
    metrics = make_metrics()
    fill(metrics, 3)
    content_type, text, _ = await read_all(metrics, "")
    assert content_type.startswith("text/plain")
    found = {family.name: family for family in parse_text(text)}
    assert found["sidegate_http_requests"].type == "counter"
    assert (
        found["sidegate_tokens_issued"].samples[0].labels["client"] == 'quote " backslash \\ newline \n end'
    )
    assert "python_gc_collections" in found
    assert "process_resident_memory_bytes" in found
    assert found["sidegate_build_info"].samples[0].labels["version"] == "1.2.3"


@pytest.mark.parametrize(
    "accept",
    ["text/plain;version=a", "text/plain;version=" + "9" * 5000, "application/openmetrics-text," * 100],
)
async def test_an_accept_that_no_scraper_sends_gets_text(accept: str) -> None:
    content_type, _, _ = await read_all(make_metrics(), accept)
    assert content_type.startswith("text/plain")


async def test_openmetrics_parses_and_carries_exemplars() -> None:
    metrics = make_metrics()
    fill(metrics, 3)
    content_type, text, _ = await read_all(metrics, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
    found = {family.name: family for family in parse_openmetrics(text)}
    exemplars = [s.exemplar for s in found["sidegate_http_request_duration_seconds"].samples if s.exemplar]
    assert exemplars[0].labels == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert exemplars[0].value == 0.002
    assert "process_resident_memory_bytes" in found


async def test_rendering_many_routes_gives_the_loop_its_turns() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=0))
    fill(metrics, 500)
    turns = 0
    done = False

    async def count_turns() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    _, text, chunks = await read_all(metrics, "")
    done = True
    await counting
    assert chunks > 5
    assert turns >= chunks - 2
    assert 'route="route 0"' in text
    assert 'route="route 499"' in text


async def test_counting_goes_on_while_a_scrape_pauses() -> None:
    metrics = make_metrics(MetricsSettings(label_limit=0))
    fill(metrics, 50)
    clock = iter(range(1_000_000))
    rendering = Exposition(metrics, clock=lambda: float(next(clock))).render("")
    chunks = []
    async for chunk in rendering.chunks:
        chunks.append(chunk)
        metrics.absorb([make_exchange(route=f"late {len(chunks)}", status=500 + len(chunks) % 90)])
        metrics.token_verify(f"reason {len(chunks)}", "miss")
    assert list(parse_text(b"".join(chunks).decode()))


async def test_an_empty_process_shows_only_what_it_knows() -> None:
    _, text, _ = await read_all(make_metrics(), "")
    own = {family.name for family in parse_text(text) if family.name.startswith("sidegate")}
    assert own == {
        "sidegate_build_info",
        "sidegate_access_log_dropped",
        "sidegate_loop_held",
        "sidegate_metrics_label_overflow",
    }
