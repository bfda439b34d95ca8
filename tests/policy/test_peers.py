"""Say whose address counts, row by row."""

import pytest

from gateway.policy.peers import MAX_HOPS, forwarded_address, peer_group


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


def test_no_more_than_a_chain_of_proxies_is_looked_at() -> None:
    asked: list[str] = []

    def is_trusted(address: str) -> bool:
        asked.append(address)
        return address.startswith("10.")

    chain = [f"10.0.0.{number}".encode() for number in range(100, 100 + MAX_HOPS)]
    assert forwarded_address([b"192.0.2.1", *chain[1:]], is_trusted) == "192.0.2.1"
    asked.clear()
    assert forwarded_address([b"192.0.2.1," * 5000 + b",".join(chain)], is_trusted) == "10.0.0.100"
    assert len(asked) == MAX_HOPS


@pytest.mark.parametrize("entry", [b"::1%" + b"a" * 30_000, b"1" * 30_000, b"[" + b":1" * 30_000])
def test_an_entry_that_is_too_long_is_no_address(entry: bytes) -> None:
    assert forwarded_address([entry], lambda _: False) is None
