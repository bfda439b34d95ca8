"""Say whose address counts, row by row."""

import random
import time
from ipaddress import ip_network

import pytest

from gateway.policy.peers import MAX_HOPS, forwarded_address, peer_group, read_networks


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


def test_networks_include_what_lies_in_one_of_them() -> None:
    chance = random.Random(8)
    texts = [
        *(str(ip_network((chance.getrandbits(32), chance.randint(8, 32)), strict=False)) for _ in range(40)),
        *(
            str(ip_network((chance.getrandbits(128), chance.randint(3, 128)), strict=False))
            for _ in range(40)
        ),
        *("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "fd00::/8", "::ffff:192.0.2.0/120"),
    ]
    written = [ip_network(text) for text in texts]
    networks = read_networks(texts)
    edges = [each for network in written for each in (network.network_address, network.broadcast_address)]
    beside = [each + 1 for each in edges if int(each) < 2**each.max_prefixlen - 1]
    for address in [*edges, *beside, *(each - 1 for each in edges if int(each))]:
        expected = any(address.version == each.version and address in each for each in written)
        assert networks.include(str(address)) is expected, address


def test_networks_of_one_family_include_nothing_of_the_other() -> None:
    assert not read_networks([])
    assert read_networks(["0.0.0.0/0"])
    assert read_networks(["::/0"])
    assert not read_networks(["0.0.0.0/0"]).include("::ffff:10.0.0.1")
    assert not read_networks(["::/0"]).include("10.0.0.1")
    assert read_networks(["fe80::/10"]).include("fe80::1%eth0")


def test_thousands_of_trusted_networks_cost_a_chain_of_proxies_nothing() -> None:
    networks = read_networks(f"{number >> 8}.{number & 255}.0.0/24" for number in range(256, 8256))
    chain = [b",".join([b"32.63.0.1"] * MAX_HOPS)]

    def ask() -> float:
        began = time.thread_time()
        assert forwarded_address(chain, networks.include) == "32.63.0.1"
        return time.thread_time() - began

    assert min(ask() for _ in range(5)) < 0.005
