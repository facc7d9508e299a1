"""Connections that cannot silence the server: few enough, and closed when they dawdle.

uvicorn waits for headers without end and knows no place for one more connection. Here a connection has seconds for
its headers, and where all places are taken, the one that has kept its place longest without a whole request makes room
for the new one. So a question about health comes through whatever others leave half-said.
"""

import asyncio
import resource
import socket
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tasks.domains.cores import usable_cores

_HEAD_READ_BYTES = 2**12
_BODY_READ_BYTES = 2**16
"""Bytes that are taken from a socket at once: what they hold is parsed before anybody else's turn."""

_MIN_CHUNK_BYTES = 32
"""A chunked body in smaller pieces on average costs more to parse than to decode."""

_OWN_DESCRIPTORS = 64
MAX_BACKLOG = 2048
"""Connections that the system keeps for a server that is busy."""
_MIN_CONNECTIONS = 8


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds on the connections of a server."""

    max_connections: int
    headers_s: float
    backlog: int
    """Connections that are accepted at once, before the first of them can be closed."""


def limits_for(max_connections: int, headers_s: float) -> ConnectionLimits:
    """The limits under the descriptors that this process may have, as many of which as allowed it asks for first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    backlog = min(MAX_BACKLOG, hard // 16)
    # Those that are accepted, and those that make room for them, are open for some turns of the loop.
    room = hard - 4 * backlog - _OWN_DESCRIPTORS - 4 * usable_cores()
    return ConnectionLimits(max(_MIN_CONNECTIONS, min(max_connections, room)), headers_s, backlog)


class GuardedServer(uvicorn.Server):
    """A server for which the system keeps more connections than it accepts at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(MAX_BACKLOG)


class GuardedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *, limits: ConnectionLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._since = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._has_begun = False

    @property
    def is_asking(self) -> bool:
        """Whether a request is under way, from the end of its headers to the end of its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Whether the body of the last request is not complete, be it answered or not."""
        return self.cycle is not None and self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        if self.is_sending and self._is_crumbs(data):
            self._turn_away(400, "a chunked body in crumbs")
            return
        self._has_begun = True
        super().data_received(data)
        if self.is_asking and self._deadline is not None:
            self._forget_deadline()
            self._since = self.loop.time()
            self._read_at_once(_BODY_READ_BYTES)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.is_asking and not self.transport.is_closing():
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._forget_deadline()
        self._has_begun = False
        self._since = self.loop.time()
        self._read_at_once(_BODY_READ_BYTES if self.is_sending else _HEAD_READ_BYTES)
        self._deadline = self.loop.call_later(self._limits.headers_s, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self.is_asking and not self.transport.is_closing():
            if self._has_begun and self.cycle is None:
                self._turn_away(408, f"no whole headers within {self._limits.headers_s:g} s")
            else:
                self.transport.abort()

    def _make_room(self) -> None:
        others = [
            other
            for other in self.connections
            if isinstance(other, GuardedProtocol) and other is not self and not other.transport.is_closing()
        ]
        if len(others) < self._limits.max_connections:
            return
        incomplete = [other for other in others if other.is_sending or not other.is_asking]
        if oldest := min(incomplete, key=lambda other: other._since, default=None):
            oldest.transport.abort()
        else:
            self._turn_away(503, f"{self._limits.max_connections} requests are being answered; ask again")

    def _is_crumbs(self, data: bytes) -> bool:
        is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        return is_chunked and data.count(b"\r\n") * _MIN_CHUNK_BYTES > max(len(data), _HEAD_READ_BYTES)

    def _turn_away(self, status: int, reason: str) -> None:
        """Answer without the application, and close."""
        body = reason.encode()
        head = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _read_at_once(self, num: int) -> None:
        self.transport.max_size = num  # type: ignore[attr-defined]  # of asyncio's own transports
