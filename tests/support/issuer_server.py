"""Serve an issuer alone, by the real gate and the real listener, on a loopback port."""

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from time import perf_counter

from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.location import SERVES_ISSUER
from gateway.enforce.token_cache import TokenCache
from gateway.issuer.context import IssuerContext
from gateway.issuer.service import Issuer
from gateway.observe.exchange import Exchange
from gateway.policy.compile import compile_routes
from gateway.policy.peers import read_networks
from gateway.proxy.gate import Gate, GateSnapshot, ListenerInfo
from gateway.proxy.listener import Listener, open_sockets
from gateway.settings.model import LimitSettings, TcpAddress

LIMITS = LimitSettings(header_bytes=0, header_count=0, loop_lag_s=0.0)
"""What a head may be is the gate's to say, and not what is looked at here."""


@dataclass
class IssuerServer:
    """A gate that leads to an issuer and nowhere else."""

    gate: Gate
    context: IssuerContext
    url: str
    exchanges: list[Exchange] = field(default_factory=list)
    """The record of every request."""

    def take(self, *, elsewhere: Collection[str] = (), trusted: Iterable[str] = ()) -> None:
        """Lead to where the issuer's endpoints are now.

        Args:
            elsewhere: More paths that lead to the issuer, which has nothing there.
            trusted: Networks of proxies whose word for a caller counts.
        """
        endpoints = self.context.snapshot().endpoints
        enforcer = Enforcer(
            table=compile_routes((), reserved_paths=()).table,
            grants={},
            keys=None,
            issuer="",
            issuer_paths={*endpoints, *elsewhere},
            cache=TokenCache(),
            revocations=self.context.revocations,
            counts=VerifyCounts(),
            generation=id(endpoints),
            observe_verification=lambda alg, seconds: None,
            stopwatch=perf_counter,
        )
        self.gate.take(GateSnapshot(enforcer, {}, LIMITS, read_networks(trusted)), {})
        self.gate.settle()


@contextlib.asynccontextmanager
async def serving_issuer(context: IssuerContext, *, port: int = 0) -> AsyncIterator[IssuerServer]:
    """Serve the issuer that `context` makes."""
    async with contextlib.AsyncExitStack() as stack:
        exchanges: list[Exchange] = []
        issuer = Issuer(context)
        stack.callback(issuer.close)
        gate = Gate(exchanges.append, issuer)
        stack.callback(gate.close)
        stack.push_async_callback(gate.service_runner.close)
        server = IssuerServer(gate, context, "", exchanges)
        server.take()
        sockets = open_sockets(TcpAddress("127.0.0.1", port))
        listener = Listener(gate, ListenerInfo("issuer", SERVES_ISSUER), sockets)
        stack.callback(listener.abort)
        listener.start()
        server.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        yield server
