"""Say for each alert which series make it fire: what a fresh process has, and then the first failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
ONE_FAILURE = "0x4 1x60"
"""A sample each 30 s: nothing until 2:00, one failure seen at 2:30."""
BECOMES_BAD = "1x4 0x60"


@dataclass(frozen=True)
class Alert:
    """One rule, and what makes it fire."""

    name: str
    series: tuple[tuple[str, str], ...]
    """Each with its values in promtool's notation."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the alert, beside its severity."""
    fires_at: str = "3m"


def rules() -> dict[str, dict[str, Any]]:
    """Return the rules by name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def _one(name: str, family: str, values: str, fires_at: str = "3m", /, **labels: str) -> Alert:
    selector = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return Alert(name, ((f"{family}{{{selector}}}", values),), labels, fires_at)


TARGET = "http://127.0.0.1:9001"
ENDS = f"{15 * 86400}x4 {13 * 86400}x60"
"""promtool's clock begins at 1970."""

ALERTS = (
    _one("SidegateNotReady", "sidegate_ready", BECOMES_BAD, "5m"),
    _one("SidegateStateStoreAway", "sidegate_state_up", BECOMES_BAD, "5m"),
    _one("SidegateConfigurationRefused", "sidegate_config_last_reload_successful", BECOMES_BAD),
    _one("SidegateSourceNotLoaded", "sidegate_source_last_load_successful", BECOMES_BAD, source="keys"),
    _one(
        "SidegateCertificateNotLoaded",
        "sidegate_tls_certificate_last_reload_successful",
        BECOMES_BAD,
        listener="a",
    ),
    _one(
        "SidegateCertificateEnds",
        "sidegate_tls_certificate_not_after_timestamp_seconds",
        ENDS,
        listener="a",
        name="n",
    ),
    _one(
        "SidegateAuthorizationEnds",
        "sidegate_authorization_until_timestamp_seconds",
        ENDS,
        client="c",
        audience="a",
    ),
    _one(
        "SidegateSigningKeyOld", "sidegate_signing_key_created_timestamp_seconds", "0x4 -16000000x60", kid="k"
    ),
    _one(
        "SidegateClientRefused",
        "sidegate_client_decisions_total",
        ONE_FAILURE,
        client="caller",
        decision="deny",
    ),
    _one(
        "SidegateUpstreamFails",
        "sidegate_upstream_errors_total",
        ONE_FAILURE,
        upstream="country",
        reason="connect",
    ),
    _one(
        "SidegateTargetUnhealthy",
        "sidegate_upstream_healthy",
        BECOMES_BAD,
        "5m",
        upstream="country",
        target=TARGET,
    ),
    _one(
        "SidegateCircuitOpen",
        "sidegate_upstream_circuit_state",
        ONE_FAILURE,
        upstream="country",
        state="open",
    ),
    _one(
        "SidegateKeySetFetchFails",
        "sidegate_jwks_fetch_total",
        ONE_FAILURE,
        issuer="https://platform.example",
        result="unreachable",
    ),
    _one(
        "SidegateKeySetOld", "sidegate_jwks_age_seconds", "60x4 14500x60", issuer="https://platform.example"
    ),
    _one(
        "SidegateLoginsSlowedDown",
        "sidegate_client_auth_failures_total",
        ONE_FAILURE,
        auth_method="client_secret_basic",
        reason="slowed_down",
    ),
    _one("SidegateAssertionReplayed", "sidegate_replay_rejected_total", ONE_FAILURE, kind="client_assertion"),
    _one(
        "SidegateLimitReached",
        "sidegate_rate_limited_total",
        ONE_FAILURE,
        route="read-country",
        limit="bad_tokens",
    ),
    _one("SidegateAcceptPauses", "sidegate_accept_pauses_total", ONE_FAILURE, listener="127.0.0.1:8080"),
    _one("SidegateTaskRestarted", "sidegate_task_restarts_total", ONE_FAILURE, task="watch"),
    _one("SidegateLoopHeld", "sidegate_loop_held_total", ONE_FAILURE),
    Alert(
        "SidegateLoopLate",
        (
            ('sidegate_event_loop_lag_seconds_bucket{instance="i",le="0.05"}', "0+100x4 400x60"),
            ('sidegate_event_loop_lag_seconds_bucket{instance="i",le="0.1"}', "0+100x4 400+100x60"),
            ('sidegate_event_loop_lag_seconds_bucket{instance="i",le="+Inf"}', "0+100x4 400+100x60"),
        ),
        {"instance": "i"},
        "15m",
    ),
    _one("SidegateLogLinesDropped", "sidegate_access_log_dropped_total", ONE_FAILURE),
    _one("SidegateLabelsFolded", "sidegate_metrics_label_overflow_total", ONE_FAILURE, label="client"),
)
