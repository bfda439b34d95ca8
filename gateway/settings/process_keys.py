"""List the keys of the process, which only the main file may hold.

Those of its larger parts are in `listener_keys`, `issuer_keys`, `state_keys`, `upstream_keys` and
`limit_keys`. Those of policies are in `policy_keys`.
"""

from operator import attrgetter
from pathlib import Path

from gateway.settings.issuer_keys import ISSUER, KEYS
from gateway.settings.kinds import Buckets, Quantity, Text, Whole
from gateway.settings.limit_keys import LIMITS
from gateway.settings.listener_keys import ADMIN, LISTENER
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.model import BearerTokenSettings, LogSettings, MetricsSettings
from gateway.settings.quantities import DURATION
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import FILE, FLAG, TIMEOUT, later_key, one_of
from gateway.settings.state_keys import STATE_STORE
from gateway.settings.texts import (
    parse_file_text,
    parse_key_set_proxy,
    parse_name,
    parse_network,
    parse_token_origin,
    parse_variable,
)
from gateway.settings.upstream_keys import UPSTREAM

_DELAY = Quantity(DURATION, 0, 3600, "from 0s to 1h")


BEARER_TOKEN = Section(
    "bearer token",
    (
        Field(
            "file",
            FILE,
            "The file that holds it, there when the configuration is loaded and read again for every fetch.",
            required=True,
            such_as="/var/run/secrets/tokens/sidegate",
            aliases="path token_file token",
        ),
        Field(
            "origins",
            ListOf(
                "list of origins",
                Text("origin", parse_token_origin, is_address=True),
                1,
                hint="at least one https://host",
            ),
            "Where it may be sent: `https://host[:port]`, or `http://` on loopback. Nothing else gets it, "
            "whatever a policy, a redirect or an issuer's metadata names.",
            required=True,
            such_as="[https://kubernetes.default.svc]",
            aliases="origin hosts urls allowed_origins audience",
        ),
    ),
    BearerTokenSettings("", Path(), ()),
)


METRICS = Section(
    "metrics",
    (
        Field(
            "buckets",
            Buckets(),
            "Bounds in seconds of the request duration histograms, ascending. Null: the built-in ones.",
            aliases="histogram_buckets bounds",
        ),
        Field(
            "label_limit",
            Whole(1, 100_000),
            "How many different values a label such as `route` or `client` may take before the rest is "
            "counted as `_other_`.",
            aliases="max_labels cardinality_limit",
        ),
        Field(
            "route_histograms",
            FLAG,
            "Durations and sizes of requests are told apart by route, which is about 70 series for each "
            "route. `false`: they are of all routes together, under `_all_`; counters stay as they are.",
            such_as="false",
            aliases="histograms",
        ),
    ),
    MetricsSettings(),
)


def place_log(directory: Path, text: str) -> str:
    """Return a log's destination: a word, or a path relative to `directory`."""
    return text if text in ("stdout", "stderr", "off") else str(directory / text)


LOGS = Section(
    "logs",
    (
        Field(
            "level",
            one_of(
                "debug",
                "info",
                "warning",
                "error",
                debug="trace verbose",
                info="notice",
                error="critical fatal",
            ),
            "The least severe message that is logged.",
            such_as="warning",
            aliases="log_level severity verbosity",
        ),
        Field(
            "access",
            Text("stdout | stderr | off | path", parse_file_text, place_log),
            "Where the access log goes: `stdout`, `stderr`, `off`, or a file.",
            aliases="access_log accesslog output file path",
        ),
        Field(
            "format",
            one_of("json", "text", text="plain logfmt console common"),
            "One JSON object per line, or text for people.",
            such_as="text",
            aliases="log_format encoding encoder",
        ),
        Field(
            "query",
            FLAG,
            "Log query strings. They often hold personal data, so they are left out.",
            aliases="log_query query_string",
        ),
    ),
    LogSettings(),
)

PROCESS_FIELDS = (
    Field(
        "listeners",
        ListOf("list of listeners", LISTENER, 1, hint="name at least one address", distinct=False),
        "The addresses at which callers reach the issuer and the gate.",
        aliases="listener listen server servers bind http port ports address entry_points entrypoints",
    ),
    Field(
        "admin",
        ADMIN,
        "The admin listener.",
        nullable=True,
        aliases="admin_listener api dashboard management monitoring",
    ),
    Field(
        "issuer",
        ISSUER,
        "The token issuer.",
        nullable=True,
        such_as="{url: https://auth.example}",
        aliases="iss oauth2 oauth authorization_server token token_issuer",
    ),
    Field("keys", KEYS, "The signing keys.", nullable=True, aliases="signing_keys key key_directory jwks"),
    Field(
        "state",
        STATE_STORE,
        "Where revocations and used assertions are kept: `memory:` (gone with the process), `sqlite:PATH` "
        "(one process; in `data_directory` if relative), or "
        "`redis://[user:password@]host[:port][/database]` (shared by many; `rediss://` with TLS). Or a "
        "mapping: `url`, one of these; `consistency`, `cached` (other processes know of a revocation within "
        "a second) or `strict` (at once: it is answered when all know it, and a process that may miss one "
        "refuses tokens); `ca_file`, who signed the certificate of a `rediss://` server.",
        aliases="storage store database db redis dsn persistence",
    ),
    Field(
        "data_directory",
        FILE,
        "Where a relative `keys.directory` and a relative `sqlite:` file lie: the only places that are "
        "written. Null: the directory that `$SIDEGATE_DATA` names, else the one of this file.",
        default_text="null",
        such_as="/var/lib/sidegate",
        aliases="data_dir data datadir",
    ),
    Field(
        "secrets_directory",
        FILE,
        "The directory in which `file:` secrets of policy files must lie. What the process itself keeps "
        "secret (this file, keys, admin and bearer tokens, state, keys of listeners and upstreams) is never "
        "one, wherever it lies and by whatever link it is named.",
        aliases="secrets secrets_dir",
    ),
    Field(
        "bearer_token_files",
        MapOf("mapping of bearer tokens", parse_name, BEARER_TOKEN, "name"),
        "The tokens of ours that fetches of key sets may carry, by the name that identities give in "
        "`bearer_token`. Which token goes where is said here and nowhere else.",
        nullable=True,
        such_as="{kubernetes: {file: /var/run/secrets/tokens/sidegate, origins: "
        "[https://kubernetes.default.svc]}}",
        aliases="bearer_tokens token_files",
    ),
    Field(
        "key_set_proxies",
        MapOf(
            "mapping of proxies",
            parse_name,
            Text("proxy", parse_key_set_proxy, is_address=True, spell=attrgetter("url")),
            "name",
        ),
        "Proxies for key sets outside, `http://host:port` by the name that `proxy` gives. They are asked by "
        "`CONNECT` only, so they see the host's name and no content, and never for `http://` or loopback "
        "addresses. Those of the environment (`HTTPS_PROXY`) are never asked.",
        nullable=True,
        such_as="{corporate: http://proxy.internal:3128}",
        aliases="proxies http_proxy https_proxy",
    ),
    Field(
        "policy_environment",
        ListOf("list of names", Text("name", parse_variable)),
        "The environment variables that policy files may use, in `${NAME}` and in `env:NAME`.",
        such_as="[REPORTING_SECRET]",
        aliases="environment env variables",
    ),
    Field(
        "upstreams",
        MapOf("mapping of upstreams", parse_name, UPSTREAM, "name"),
        "The resource services behind the gate, by name.",
        nullable=True,
        such_as="{country: {targets: [http://10.0.0.5:9001]}}",
        aliases="upstream clusters cluster backends backend services service targets",
    ),
    Field(
        "limits",
        LIMITS,
        "What one caller, or all together, may take.",
        nullable=True,
        such_as="{body_bytes: 10MiB}",
        aliases="limit",
    ),
    Field(
        "metrics",
        METRICS,
        "What is measured.",
        nullable=True,
        such_as="{label_limit: 500}",
        aliases="telemetry prometheus stats",
    ),
    Field(
        "logs",
        LOGS,
        "What is logged.",
        nullable=True,
        such_as="{level: warning}",
        aliases="log logging logger",
    ),
    later_key("audit", "A log of decisions with a hash chain."),
    Field(
        "drain_timeout",
        TIMEOUT,
        "How long requests in flight may take to finish when the process stops.",
        attribute="drain_timeout_s",
        aliases="shutdown_timeout graceful_timeout grace_period grace_time_out termination_grace_period",
    ),
    Field(
        "shutdown_delay",
        _DELAY,
        "How long the listeners still accept after SIGTERM, while `/readyz` is 503 already and answers close "
        "their connections: the time in which load balancers notice. Null: 5s where a listener is off "
        "loopback, else 0s.",
        attribute="shutdown_delay_s",
        such_as="5s",
        aliases="pre_stop lame_duck request_accept_grace_timeout",
    ),
    Field(
        "trusted_proxies",
        ListOf("list of networks", Text("network", parse_network)),
        "Networks (CIDR) whose `X-Forwarded-*` and `Forwarded` fields are believed.",
        such_as="[10.0.0.0/8]",
        aliases="trusted_ips trusted_proxy set_real_ip_from forwarded_allow_ips xff_trusted",
    ),
    Field(
        "policies",
        ListOf("list of file patterns", Text("file pattern", parse_file_text)),
        "The policy files: paths or patterns (`*`, `?`, `**`), relative to this file, read in "
        "alphabetical order. Files whose name begins with a dot are not matched by a pattern.",
        default_text="[policies/*.yaml]",
        aliases="policy policy_files include includes import imports rules_files",
    ),
)
