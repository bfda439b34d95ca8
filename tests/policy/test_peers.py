"""Say whose address counts, row by row."""

import pytest

from gateway.policy.peers import forwarded_address, peer_group


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_peer_group(address: str, group: str) -> None:
    assert peer_group(address) == group


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ([b"192.0.2.1"], "192.0.2.1"),
        ([b"198.51.100.9, 192.0.2.1"], "192.0.2.1"),  # what stands before may be invented
        ([b"198.51.100.9", b"192.0.2.1"], "192.0.2.1"),
        ([b"192.0.2.1, 10.0.0.1, 10.0.0.2"], "192.0.2.1"),  # two trusted proxies
        ([b"10.0.0.1"], "10.0.0.1"),  # nobody but trusted proxies
        ([b"192.0.2.1:4711"], "192.0.2.1"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"2001:db8::1"], "2001:db8::1"),
        ([b"unknown"], None),
        ([b""], None),
        ([b"192.0.2.1, unknown"], None),
        ([b"192.0.2.1, junk, 10.0.0.1"], "10.0.0.1"),
        ([b"192.0.2.1, \xff\xfe"], None),
    ],
)
def test_forwarded_address(values: list[bytes], address: str | None) -> None:
    assert forwarded_address(values, lambda text: text.startswith("10.")) == address
