"""Name where a request leads: to a route, to the issuer, or nowhere."""

from dataclasses import dataclass, field

from gateway.policy.model import Decision, Route, RouteLabel

SERVES_ISSUER = 1
SERVES_GATE = 2
"""The duties of a listener; added when it has both."""
ISSUER = "_issuer_"
"""The name of the issuer's upstream and route in logs and metrics."""


@dataclass(frozen=True, slots=True, eq=False)
class Location:
    """Where method, host and path lead, whoever asks."""

    route: Route | None
    forward_path: bytes
    """The canonical path, rewritten as the route says: what the upstream is asked for."""
    stripped: bytes = b""
    """The prefix that was taken from it."""
    is_issuer: bool = False
    refusal: Decision | None = None
    """Set when the request leads nowhere."""
    logged_path: str = ""
    """The canonical path as text, or an empty text when there is none."""
    is_limited: bool = False
    """The route has a rate limit."""
    name: str = field(init=False)
    """The route's name, `_issuer_` for the issuer, or nothing."""
    label: RouteLabel | None = field(init=False)
    """What decisions tell of the route, or None."""

    def __post_init__(self) -> None:
        """Find name and label once, for they are recorded with each request."""
        object.__setattr__(self, "label", None if self.route is None else self.route.label)
        name = ISSUER if self.is_issuer else "" if self.route is None else self.route.name
        object.__setattr__(self, "name", name)


NO_LOCATION = Location(None, b"")
"""Of what is refused before anybody asks where it leads."""
