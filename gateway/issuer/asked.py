"""Hold what an endpoint works with, and the one request that it works on.

Data only. What is noted of a request for the log lies in its `entry`, which is the one value here
that changes.
"""

from dataclasses import dataclass, field

from gateway.issuer.context import IssuerContext
from gateway.issuer.forms import Form
from gateway.issuer.logins import Logins
from gateway.issuer.rate_limit import ClientRateLimit
from gateway.issuer.signer import TokenSigner
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.observe.issuer_request import IssuerRequest
from gateway.services import Request


@dataclass(frozen=True, slots=True)
class Parts:
    """What all requests share."""

    context: IssuerContext
    logins: Logins
    signer: TokenSigner = field(default_factory=TokenSigner)
    rate_limit: ClientRateLimit = field(default_factory=ClientRateLimit)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request with a form, and the configuration that it is answered by."""

    parts: Parts
    request: Request
    form: Form
    snapshot: IssuerSnapshot
    entry: IssuerRequest
