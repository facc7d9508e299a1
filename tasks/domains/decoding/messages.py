"""Messages between a process that decodes and the one that asks it: JSON and bytes, each after its length."""

import json
import socket
import struct
from typing import Any

from tasks.files import parse_json

Fields = dict[str, Any]
"""A message but for its bytes; a job or an answer."""

_HEAD = struct.Struct(">4sIQ")
_MAGIC = b"accl"


class BrokenOffError(Exception):
    """The other side is gone, or says what no side says."""


def send(to: socket.socket, fields: Fields, body: bytes = b"") -> None:
    """Send one message; waits until the other side has room for it."""
    text = json.dumps(fields).encode()
    to.sendall(_HEAD.pack(_MAGIC, len(text), len(body)) + text)
    to.sendall(body)


def receive(source: socket.socket) -> tuple[Fields, bytes]:
    """The next message.

    Raises:
        BrokenOffError: There is none, or it is none.
    """
    magic, text_length, body_length = _HEAD.unpack(_exactly(source, _HEAD.size))
    if magic != _MAGIC:
        raise BrokenOffError("not the beginning of a message")
    return parse_json(_exactly(source, text_length)), _exactly(source, body_length)


def _exactly(source: socket.socket, length: int) -> bytes:
    content = bytearray(length)
    view, got = memoryview(content), 0
    while got < length:
        num = source.recv_into(view[got:])
        if num == 0:
            raise BrokenOffError("the other side is gone")
        got += num
    return bytes(content)
