"""Hold the grants that are served to those that are announced, and an unknown one to a clear answer."""

from gateway.issuer.grants.table import GRANTS
from gateway.oauth_names import grant_types


def test_each_grant_that_is_announced_is_served_and_no_other() -> None:
    assert tuple(GRANTS) == grant_types()
