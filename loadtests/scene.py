"""Write the configuration that the load tests run against, and name what is in it.

One process serves issuer and gate on one port, in front of the demo's country
service. The client's secret is made for each run and handed over in an environment
variable, to the appliance and to the callers alike.
"""

from pathlib import Path

CLIENT = "load-caller"
AUDIENCE = "country-service"
SCOPES = "country.read customer.read"
SECRET_VARIABLE = "SIDEGATE_LOADTEST_SECRET"

TOKEN_PATH = "/oauth2/token"
INTROSPECTION_PATH = "/oauth2/introspect"
REVOCATION_PATH = "/oauth2/revoke"
JWKS_PATH = "/.well-known/jwks.json"
COUNTRY_PATH = "/ms-system/country/code/AUS"
CUSTOMER_PATH = "/ms-system/customer/1"
HEALTH_PATH = "/ms-system/health"

_CONFIGURATION = """\
version: 1
listeners:
  - address: 127.0.0.1:{port}
admin:
  address: 127.0.0.1:{admin_port}
issuer:
  url: http://127.0.0.1:{port}
keys:
  directory: keys
state: sqlite:sidegate.db
policy_environment: [{secret_variable}]
upstreams:
  country:
    targets: ["http://127.0.0.1:{upstream_port}"]
clients:
  {audience}:
    description: Countries and customers
    scopes:
      country.read: Read country codes
      customer.read: Read customers
      customer.write: Change customers
  {client}:
    secrets: [env:{secret_variable}]
authorizations:
  - client: {client}
    audience: {audience}
    scopes: [country.read, customer.read]
routes:
  - name: read-country
    path: /ms-system/country/code/{{code}}
    methods: [GET, HEAD]
    upstream: country
    require: {{audience: {audience}, scopes: [country.read]}}
  - name: read-customer
    path: /ms-system/customer/{{id}}
    methods: [GET, HEAD]
    upstream: country
    require: {{audience: {audience}, scopes: [customer.read]}}
  - name: write-customer
    path: /ms-system/customer/{{id}}
    methods: [PUT]
    upstream: country
    require: {{audience: {audience}, scopes: [customer.write]}}
  - name: health
    path: /ms-system/health
    methods: [GET, HEAD]
    access: public
    upstream: country
"""


def write_configuration(directory: Path, *, port: int, admin_port: int, upstream_port: int) -> Path:
    """Write `gateway.yaml` into `directory` and return its path."""
    path = directory / "gateway.yaml"
    path.write_text(
        _CONFIGURATION.format(
            port=port,
            admin_port=admin_port,
            upstream_port=upstream_port,
            client=CLIENT,
            audience=AUDIENCE,
            secret_variable=SECRET_VARIABLE,
        )
    )
    return path
