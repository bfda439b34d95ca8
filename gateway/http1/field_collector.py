"""Take the field lines of a head from llhttp, which calls back for each.

What they mean is judged by `gateway.http1.request` and `gateway.http1.response`.
"""


class FieldCollector:
    """The fields of one head, in their order."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one field line."""
        self.fields.append((name, value))
