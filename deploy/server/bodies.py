"""The bodies of requests: within a deadline, each and all together within a bound in memory.

A small body always finds room. Where large ones fill what there is, the largest that is still incomplete gives way: those
who hold memory without asking anything cannot keep it from those who ask.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from deploy.server.busy import TooBusy
from tasks.config.sections.delivery import ServiceParams
from tasks.domains.contract import Reader
from tasks.files import parse_json

FREE_BYTES = 2**18
"""The beginning of a body, which takes nothing from the memory that all share; there are as many as connections."""


MAX_EXAMPLES = 1000
"""Examples in one request; each is an answer of its own."""


class _Body:
    def __init__(self, deadline: asyncio.Timeout) -> None:
        self.content = bytearray()
        self.is_complete = False
        self.gave_way = False
        self.deadline = deadline

    @property
    def shared_bytes(self) -> int:
        return max(0, len(self.content) - FREE_BYTES)


class Bodies:
    """All bodies that are held."""

    def __init__(self, service: ServiceParams) -> None:
        self._max_bytes = service.max_body_mb * 2**20
        self._max_shared_bytes = service.max_bodies_mb * 2**20
        self._body_s = service.body_s
        self._held: set[_Body] = set()

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request, whose memory is counted until the block ends.

        Raises:
            HTTPException: It is too large, too slow, or its client has left.
            TooBusy: Others fill the memory.
        """
        claimed = request.headers.get("content-length", "0")
        if claimed.isdigit() and int(claimed) > self._max_bytes:
            raise HTTPException(413, f"the body of {claimed} bytes is larger than {self._max_bytes} bytes")
        body = _Body(asyncio.timeout(self._body_s))
        self._held.add(body)
        try:
            await self._read(request, body)
            yield body.content
        finally:
            self._held.discard(body)

    async def _read(self, request: Request, body: _Body) -> None:
        try:
            async with body.deadline:
                async for chunk in request.stream():
                    body.content += chunk
                    if len(body.content) > self._max_bytes:
                        raise HTTPException(413, f"the body is larger than {self._max_bytes} bytes")
                    self._make_room(body)
        except TimeoutError as error:
            if body.gave_way:
                raise TooBusy("other bodies") from error
            raise HTTPException(408, f"the body was not complete within {self._body_s:g} s") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the client left before the body was complete") from error
        body.is_complete = True

    def _make_room(self, grown: _Body) -> None:
        excess = sum(body.shared_bytes for body in self._held) - self._max_shared_bytes
        while excess > 0:
            incomplete = [body for body in self._held if not body.is_complete and body.shared_bytes]
            largest = max(incomplete, key=lambda body: body.shared_bytes, default=grown)
            if largest is grown:
                raise TooBusy("other bodies")
            excess -= largest.shared_bytes
            largest.gave_way = True
            largest.content = bytearray()
            largest.deadline.reschedule(asyncio.get_running_loop().time())


async def example_in(request: Request, body: bytearray, reader: Reader) -> bytes:
    """The encoded example of a request, whichever way it was sent.

    Raises:
        HTTPException: There is none.
    """
    is_form = content_type_of(request) == "multipart/form-data"
    content = await _field(request, body, reader.noun) if is_form else bytes(body)
    if not content:
        raise HTTPException(422, f"cannot use this {reader.noun}: the request holds no bytes of it")
    return content


def examples_in(body: bytearray, reader: Reader) -> list[object]:
    """The examples of a JSON body ``{"texts": [...]}``, each as JSON gives it.

    Raises:
        HTTPException: It is no such body, or holds more than one request may.
    """
    try:
        content = parse_json(bytes(body))
    except ValueError as error:
        raise HTTPException(422, f"the body is no JSON ({str(error)[:200]})") from error
    examples = content.get(reader.plural) if isinstance(content, dict) else None
    if not isinstance(examples, list) or len(content) != 1:
        raise HTTPException(
            422, f'the body must be a JSON object {{"{reader.plural}": [...]}}, and nothing else in it'
        )
    if not 1 <= len(examples) <= MAX_EXAMPLES:
        raise HTTPException(
            422,
            f"a request may hold 1 to {MAX_EXAMPLES:,} {reader.plural}, got {len(examples):,}: send them in parts",
        )
    return examples


def is_json(request: Request) -> bool:
    """Whether the body says that it is JSON."""
    return content_type_of(request) == "application/json"


def refuse_content_type(request: Request, reader: Reader) -> None:
    """Refuse a request whose body is no example.

    Raises:
        HTTPException: Naming the types that may be sent.
    """
    content_type = content_type_of(request)
    allowed = [
        "",
        "application/octet-stream",
        "multipart/form-data",
        *(["application/json"] * reader.has_rows),
    ]
    if content_type not in allowed and not content_type.startswith(reader.media_type):
        many = f', or application/json with {{"{reader.plural}": [...]}}' if reader.has_rows else ""
        raise HTTPException(
            415,
            f"cannot read {reader.noun} data from content type {content_type!r}; send {reader.media_type}*,"
            f" application/octet-stream, or multipart/form-data with the field `{reader.noun}`{many}",
        )


def content_type_of(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _field(request: Request, body: bytearray, name: str) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        yield bytes(body)

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=8)  # type: ignore[arg-type]
    parser.spool_max_size = len(body) + 1  # it is in memory already, and the disk may be read-only
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(422, f"cannot read the multipart body: {error}") from error
    try:
        field = form.get(name)
        if field is None or isinstance(field, str):
            raise HTTPException(422, f"the multipart body has no file in the field `{name}`")
        return await field.read()
    finally:
        await form.close()
