"""Render the configuration reference, `docs/configuration.md`, from the table of keys.

`python -m gateway.settings.reference docs/configuration.md`; a test fails when
the page is older than the table. Without a file it is printed. Prose that belongs to no single key is here,
and every example on the page is loaded by a test.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.settings.fields import MAIN_FILE
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.reading import Kind
from gateway.settings.sections import Field, Section

_INTRODUCTION = """\
# Configuration reference

*This page is made from the table of keys that the loader itself reads by
(`.venv/bin/python -m gateway.settings.reference docs/configuration.md`). Do not edit it by hand.*

A configuration is one main file, `gateway.yaml`, and any number of policy files.
The main file says how the process runs; the policy files say who may call what.
`sidegate check` reads them exactly as the process does and names every mistake
at once, with file, line, column, the dotted path of the key, and a hint: what may be meant, or
an example that can be written at that very place. What only follows from a mistake is not told.

```text
policies/country.yaml:9:5: routes[0].uptream: the key is unknown (hint: did you mean upstream?)
policies/country.yaml:14:17: routes[0].rate_limit: expected a rate limit as a mapping, found text
    (hint: e.g. rate_limit: {requests: 100, per: 1s})
```

The words of other products are known: who writes `strip_path` or `proxy_pass` is told the key it has
[here](#words-of-other-products).

## How files are read

- The files are **YAML 1.2** in UTF-8. `off`, `NO`, `1:30` and `2027-06-30` are text,
  `010` is the number ten. Text that looks like a number needs quotes.
- **Unknown keys, duplicate keys and merge keys (`<<`) are errors.** So are names that
  lead nowhere: an upstream, client, audience or scope that nobody defined.
- A key whose row says *not available in this version* is known but has no effect yet.
  Using it is an error, so that nothing is accepted and ignored.
- **Paths** are relative to the file that names them.
- **Durations** have a unit: `250ms`, `30s`, `5m`, `1h`, `30d`. **Sizes** are bytes or have
  one: `512`, `64KiB`, `10MiB`. `0` means unlimited where the row says so.
- Anchors and aliases work within bounds; a file may be 32 MiB and 32 levels deep.

### Environment

In the main file, `${NAME}` and `${NAME:-default}` in a value are replaced from the
environment, once: what comes in is not searched again. The default stands in when the
variable is unset or empty, and ends at the next `}`; one that holds `{` is an error, as defaults do
not nest. `$${` is a literal `${`. A value
without quotes gets its type after it is replaced, so `label_limit: ${LIMIT}` works.
Keys are never replaced. Inside `[…]` and `{…}` put such values in quotes.

Policy files may be edited by more people, so they may use only the variables that
`policy_environment` lists, for `${NAME}` and for `env:NAME` secrets alike, and their
`file:` secrets must lie in `secrets_directory`, after every `..` and link is resolved. No
path in a policy file leads to what the process itself keeps secret, or into `/proc`. Tokens
and proxies for fetching key sets are named by entries of the main file. The policy sections
of the main file itself are free of these limits.

Messages show a value as it was written, never what the environment put in its place,
and never a secret.

### Editors

`sidegate schema` prints a JSON Schema (draft 2020-12) of the main file, `sidegate schema --policy`
that of policy files: they differ, as a policy file may not hold the keys of the process. `sidegate
init` writes both beside `gateway.yaml`. With this line at the head of a file, editors that use the
YAML language server complete keys, show what they mean, and mark unknown keys and wrong types:

```text
# yaml-language-server: $schema=sidegate.schema.json
```

A schema knows shapes: whatever `sidegate check` accepts, the schema accepts, and `sidegate check`
goes on to look at names, texts and files. After an update of Sidegate write the schemas anew.

### Files with policies

Any file, the main file too, may hold `clients`, `authorizations`, `routes` and `tests`;
all files together are one policy. A client is defined in one place only. The order of
files and routes has no meaning: the most specific route wins.
"""

_WORDS = """
## Words of other products

None of these words is a key here. Who writes one at that place is told the key that is meant.

| Key | Looked for as |
|---|---|
"""

_EXAMPLES = {
    "listeners": """\
listeners:
  - address: 127.0.0.1:8080
  - address: "[::1]:8081"
    serves: [gate]
  - address: 127.0.0.1:8443
    tls: {certificate_file: tls/server.pem, key_file: tls/server.key}
  - address: unix:/run/sidegate.sock
""",
    "admin": """\
admin:
  address: 127.0.0.1:9090
  hosts: [sidegate.internal]
""",
    "issuer": """\
issuer:
  url: https://auth.example.com/ms-auth-server
  path_prefix: /ms-auth-server
  token_lifetime: 30m
""",
    "keys": """\
keys:
  directory: /var/lib/sidegate/keys
""",
    "bearer_token_files": """\
bearer_token_files:
  kubernetes:
    file: /var/run/secrets/kubernetes.io/serviceaccount/token
    origins: [https://kubernetes.default.svc]
key_set_proxies:
  corporate: http://proxy.internal:3128
""",
    "upstreams": """\
upstreams:
  country:
    targets: [http://10.0.0.5:9001, http://10.0.0.6:9001]
    response_timeout: 10s
    queue: {size: 64, timeout: 500ms}
""",
    "limits": """\
limits:
  body_bytes: 10MiB
  header_timeout: 5s
""",
    "metrics": """\
metrics:
  buckets: [0.001, 0.01, 0.1, 1]
""",
    "logs": """\
logs:
  level: warning
  access: /var/log/sidegate/access.log
""",
    "clients": """\
clients:
  country-service:            # an audience: it offers scopes
    description: Country codes
    scopes:
      country.read: Read country codes
      country.write: Change country codes
  reporting-job:              # a caller: it has a secret
    secrets:
      - sha256:8f2c1d0a5b6e7f90:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8
    default_audience: country-service
    claims: {tenant: acme}
""",
    "authorizations": """\
authorizations:
  - client: reporting-job
    audience: country-service
    scopes: [country.read]
    until: 2099-12-31
""",
    "routes": """\
routes:
  - name: read-country
    path: /ms-system/country/code/{code}
    methods: [GET, HEAD]
    upstream: country
    require:
      audience: country-service
      scopes: [country.read]
      claims: {tenant: [acme, beta]}
  - path: /ms-system/health
    upstream: country
    access: public
""",
    "tests": """\
tests:
  - name: the reporting job may read
    request: GET /ms-system/country/code/AUS
    client: reporting-job
    scopes: [country.read]
    expect: allow
  - name: nobody reads without a token
    request: GET /ms-system/country/code/AUS
    expect: {deny: no_token}
""",
}


def render() -> str:
    """Return the page as Markdown."""
    rows = {item.key: item for item in MAIN_FILE.fields}
    policy = [rows.pop(item.key) for item in POLICY_FIELDS]
    process = list(rows.values())
    parts = [_INTRODUCTION]
    parts.append("\n## The process: gateway.yaml\n\nOnly the main file may hold these keys.\n\n")
    parts.append(_table(process))
    for item in process:
        parts.extend(_section(item, item.key, 3))
    parts.append("\n## The policy: any file\n\n")
    parts.append(_table(policy))
    for item in policy:
        parts.extend(_section(item, item.key, 3))
    parts += [_WORDS, *_aliases(MAIN_FILE.fields)]
    return "".join(parts)


def examples() -> dict[str, str]:
    """Return the page's examples by the key they show."""
    return dict(_EXAMPLES)


def _section(item: Field, path: str, level: int) -> Iterator[str]:
    """Yield heading, table and example of what lies below a key, and of what lies below that."""
    found = _below(item.kind, path)
    if found is None:
        return
    section, place = found
    yield f"\n{'#' * level} `{place}`\n\n{item.doc}\n\n"
    yield _table(section.fields)
    if level == 3:
        yield f"\n```yaml\n{_EXAMPLES[item.key]}```\n"
    for inner in section.fields:
        yield from _section(inner, f"{place}.{inner.key}", level + 1)


def _below(kind: Kind, path: str) -> tuple[Section, str] | None:
    """Return the section in a kind, and its dotted path; None when there is none."""
    match kind:
        case Section():
            return kind, path
        case ListOf(item=Section() as section):
            return section, f"{path}[]"
        case MapOf(value=Section() as section):
            return section, f"{path}.<{section.label} {'id' if section.label == 'client' else 'name'}>"
    return None


def _table(fields: Iterable[Field]) -> str:
    rows = ["| Key | Type | Default | Example | Meaning |\n|---|---|---|---|---|\n"]
    for item in fields:
        if item.available:
            default = "required" if item.required else f"`{item.default}`" if item.default else ""
            if isinstance(item.kind, Section) and not default:
                default = "see below"
            meaning = item.doc
        else:
            default, meaning = "", f"*Not available in this version.* {item.doc}"
        shown = item.example() if item.available and item.example() != item.default else ""
        cells = (item.kind.label, default, f"`{shown}`" if shown else "", meaning)
        rows.append(f"| `{item.key}` | {' | '.join(map(_cell, cells))} |\n")
    return "".join(rows)


def _aliases(fields: tuple[Field, ...] | list[Field], path: str = "") -> Iterator[str]:
    """Yield a row for each key that others call otherwise."""
    for item in fields:
        place = f"{path}.{item.key}" if path else item.key
        if item.available and item.aliases:
            words = ", ".join(f"`{word}`" for word in item.aliases.split())
            yield f"| `{place}` | {words} |\n"
        found = _below(item.kind, place)
        if found is not None:
            yield from _aliases(found[0].fields, found[1])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> None:
    """Write the page to the named file, or print it. It is whole before the file is touched."""
    page = render()
    if arguments:
        Path(arguments[0]).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)


if __name__ == "__main__":
    main(sys.argv[1:])
