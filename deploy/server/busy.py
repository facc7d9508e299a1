"""Work for which there is a queue: bounded in length and in time, and left by those whose client left."""

import asyncio
import bisect
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Request

ResultT = TypeVar("ResultT")

_RETRY_S = 1


class TooBusy(HTTPException):
    """The answer 429: ask again in a moment."""

    def __init__(self, what: str) -> None:
        super().__init__(
            429, f"{what} come first: ask again in a moment", headers={"Retry-After": str(_RETRY_S)}
        )


class Queue:
    """Work that so many threads do at once, the smallest piece first.

    Args:
        what: The work of others, in the plural, for a message.
        num: Threads.
        max_waiting: Pieces of work that wait; of one more, the largest is refused.
        max_wait_s: Seconds that a piece waits before it is refused.
    """

    def __init__(self, what: str, *, num: int, max_waiting: int, max_wait_s: float) -> None:
        self._what = what
        self._free = num
        self._threads = CapacityLimiter(math.inf)  # `_free` bounds it
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._waiting: list[_Turn] = []
        self._working: set[asyncio.Future[Any]] = set()

    async def run(self, work: Callable[..., ResultT], *arguments: Any, size: int) -> ResultT:
        """The result of ``work`` in a thread; ``size`` says how large it is beside the others.

        Raises:
            TooBusy: Too much other work waits, or this waited too long.
        """
        await self._wait(size)
        working = asyncio.ensure_future(to_thread.run_sync(work, *arguments, limiter=self._threads))
        self._working.add(working)
        working.add_done_callback(self._end)
        # A thread cannot be cancelled: its place is free when it has ended, whether or not anybody still waits.
        return await asyncio.shield(working)

    def _end(self, working: asyncio.Future[Any]) -> None:
        self._working.discard(working)
        if not working.cancelled():
            working.exception()  # seen, in case nobody waits for it
        self._give_back()

    async def _wait(self, size: int) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = _Turn(size)
        bisect.insort(self._waiting, turn, key=lambda waiting: waiting.size)
        if len(self._waiting) > self._max_waiting:
            self._waiting.pop().granted.set_exception(TooBusy(self._what))
        try:
            async with asyncio.timeout(self._max_wait_s):
                await turn.granted
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.granted.done() and not turn.granted.cancelled() and turn.granted.exception() is None:
                self._give_back()  # granted in the moment in which this gave up
            raise TooBusy(self._what) if isinstance(error, TimeoutError) else error from None

    def _give_back(self) -> None:
        while self._waiting:
            granted = self._waiting.pop(0).granted
            if not granted.done():  # one that has just given up is still in the list
                granted.set_result(None)
                return
        self._free += 1


class _Turn:
    def __init__(self, size: int) -> None:
        self.size = size
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ClientLeftError(Exception):
    """Nobody waits for the answer."""


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of ``work``, which is dropped when the client leaves, but for what has begun in a thread.

    Raises:
        ClientLeftError: It left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeftError
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
