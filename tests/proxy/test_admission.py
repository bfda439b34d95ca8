"""Find out whom a request of a trusted proxy counts for, and remember little."""

from gateway.http1.request import FieldBlock, read_fields
from gateway.proxy.admission import FORWARDED_BYTES, Admission


def fields(*forwarded_for: str) -> FieldBlock:
    lines = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded_for)
    block = read_fields(f"Host: a\r\n{lines}\r\n".encode(), max_fields=100)
    assert isinstance(block, FieldBlock)
    return block


class Trust:
    """Trusts 10.0.0.0/8 and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, address: str) -> bool:
        self.asked += 1
        return address.startswith("10.")


def test_a_short_value_is_read_once() -> None:
    admission, trust = Admission(), Trust()
    for _ in range(3):
        assert admission.forwarded_peer(fields("192.0.2.1, 10.0.0.1"), trust) == "192.0.2.1"
    assert trust.asked == 2
    admission.forget_forwarded()
    assert admission.forwarded_peer(fields("192.0.2.1, 10.0.0.1"), trust) == "192.0.2.1"
    assert trust.asked == 4


def test_a_long_value_is_not_remembered_beyond_its_request() -> None:
    admission, trust = Admission(), Trust()
    value = "192.0.2.9" + ", 10.0.0.1" * (FORWARDED_BYTES // 10)
    block = fields(value)
    for _ in range(2):
        assert admission.forwarded_peer(block, trust) == "10.0.0.1"
    assert trust.asked == 16
    assert admission.forwarded_peer(fields("192.0.2.1"), trust) == "192.0.2.1"
    assert admission.forwarded_peer(fields(value), trust) == "10.0.0.1"
    assert trust.asked == 16 + 1 + 16
    assert all(len(key) <= FORWARDED_BYTES for key in admission._forwarded.young)


def test_the_latest_request_does_not_speak_for_the_next_one() -> None:
    admission, trust = Admission(), Trust()
    block = fields("192.0.2.1")
    assert admission.forwarded_peer(block, trust) == "192.0.2.1"
    assert admission.forwarded_peer(fields(), trust) is None
    assert admission.forwarded_peer(fields("unknown"), trust) is None
    admission.forget_forwarded()
    assert admission.forwarded_peer(block, lambda _: True) == "192.0.2.1"
