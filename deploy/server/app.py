"""The HTTP server: one example in, class and probabilities out, for every target of a workspace.

    POST /predict/{target}   an encoded example as body, or as a multipart field named after its kind
    GET  /health             the process lives
    GET  /ready              every target that has a champion can answer (else 503), and why not
    GET  /targets            what can be asked

onnxruntime and a decoder do the work, in threads; torch is not needed. A champion that was promoted
or rolled back takes over between two requests.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from deploy.server.predictor import Champions, Loaded, TargetState, answer
from deploy.settings import read_kind
from tasks.domains.contract import InputSpec, Reader, UnreadableExample
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput, Refused
from tasks.exported.session import Device
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 2**20
_REFRESH_INTERVAL_S = 0.5
_GRACE_S = 30


def create_app(
    workspace_root: Path, device: Device = "auto", *, max_body_bytes: int = MAX_BODY_BYTES
) -> FastAPI:
    """The application that serves the champions of a workspace; it loads them when it is started.

    Raises:
        ConfigError: ``workspace_root`` is no workspace, or its params.yaml is wrong in how examples are read.
        BadInput: It names a kind of example that this version of acclimate does not know.
    """
    workspace = Workspace(workspace_root.resolve())
    champions = Champions(workspace, device, reader_of(read_kind(workspace)).limits)
    # Decoding may hold the largest example that is allowed: as many at once as there are cores, no more.
    limiter = CapacityLimiter(max(2, os.cpu_count() or 2))

    # No interactive docs: their pages load scripts from elsewhere.
    app = FastAPI(title="acclimate", docs_url=None, redoc_url=None, lifespan=partial(_lifespan, champions))

    @app.post("/predict/{target}")
    async def predict(target: str, request: Request) -> dict[str, object]:
        loaded = _in_service(champions, target)
        content = await _read_example(request, loaded.reader, max_body_bytes)
        try:
            return await to_thread.run_sync(answer, loaded, content, limiter=limiter)
        except UnreadableExample as error:
            raise HTTPException(422, f"cannot use this {loaded.reader.noun}: {error.reason}") from error
        except Refused as error:
            raise HTTPException(500, str(error)) from error

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        targets = {name: _describe_state(state) for name, state in champions.states().items()}
        is_ready = champions.ready
        return JSONResponse({"ready": is_ready, "targets": targets}, 200 if is_ready else 503)

    @app.get("/targets")
    async def targets() -> list[dict[str, Any]]:
        return [_describe_target(name, state) for name, state in champions.states().items()]

    return app


def serve(workspace_root: Path, host: str = "127.0.0.1", port: int = 8000, device: Device = "auto") -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first.

    Raises:
        BadInput: ``workspace_root`` is no workspace, or the address cannot be listened on.
    """
    app = create_app(workspace_root, device)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise BadInput(
            f"cannot listen on {host}, port {port}: {error.strerror or error}. Choose another --port or --host."
        ) from error
    # ws="none": there are no websockets, and looking for a library of them takes time.
    config = uvicorn.Config(app, ws="none", timeout_graceful_shutdown=_GRACE_S)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.asynccontextmanager
async def _lifespan(champions: Champions, _app: FastAPI) -> AsyncIterator[None]:
    # Not awaited: the process is live while models load, and /ready says when they are.
    watcher = asyncio.create_task(_watch(champions))
    try:
        yield
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


async def _watch(champions: Champions) -> None:
    while True:
        try:
            await to_thread.run_sync(champions.refresh)
        except Exception:
            # The loaded models go on serving; the next look may succeed.
            log.exception("cannot read the registry")
        await asyncio.sleep(_REFRESH_INTERVAL_S)


def _in_service(champions: Champions, target: str) -> Loaded:
    state = champions.state(target)
    if state is None and not champions.refreshed:
        raise HTTPException(503, "the models are still loading: ask again in a moment")
    if state is None:
        known = ", ".join(champions.states()) or "none"
        raise HTTPException(404, f"unknown target {target!r}; known targets: {known}")
    if state.loaded is None:
        reason = (
            state.problem or f"target {target} has no champion yet: `acclimate promote {target}` sets one"
        )
        raise HTTPException(503, reason)
    return state.loaded


async def _read_example(request: Request, reader: Reader, max_bytes: int) -> bytes:
    """The encoded example of a request, whichever way it was sent."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    _refuse_content_type(content_type, reader)
    body = await _read_body(request, max_bytes)
    is_form = content_type == "multipart/form-data"
    content = await _read_field(request, body, reader.noun) if is_form else body
    if not content:
        raise HTTPException(422, f"cannot use this {reader.noun}: the request holds no bytes of it")
    return content


def _refuse_content_type(content_type: str, reader: Reader) -> None:
    allowed = ("", "application/octet-stream", "multipart/form-data")
    if content_type not in allowed and not content_type.startswith(reader.media_type):
        raise HTTPException(
            415,
            f"cannot read {reader.noun} data from content type {content_type!r}; send {reader.media_type}*,"
            f" application/octet-stream, or multipart/form-data with the field `{reader.noun}`",
        )


async def _read_body(request: Request, max_bytes: int) -> bytes:
    claimed = request.headers.get("content-length", "0")
    if claimed.isdigit() and int(claimed) > max_bytes:
        raise HTTPException(413, f"the body of {claimed} bytes is larger than {max_bytes} bytes")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise HTTPException(413, f"the body is larger than {max_bytes} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the client left before the body was complete") from error
    return bytes(body)


async def _read_field(request: Request, body: bytes, name: str) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=8)  # type: ignore[arg-type]
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


def _describe_state(state: TargetState) -> dict[str, object]:
    loaded = state.loaded
    return {
        "champion": state.pointed_at,
        "serving": loaded.champion.version if loaded else None,
        "model_sha256": loaded.champion.model_sha256 if loaded else None,
        "provider": loaded.model.provider if loaded else None,
        "problem": state.problem,
    }


def _describe_target(name: str, state: TargetState) -> dict[str, object]:
    loaded = state.loaded
    return {
        "target": name,
        "version": loaded.champion.version if loaded else None,
        "classes": list(loaded.model.classes) if loaded else None,
        "input": _describe_input(loaded.model.spec) if loaded else None,
    }


def _describe_input(spec: InputSpec) -> dict[str, object]:
    return {"kind": spec.kind, "dtype": spec.dtype, "shape": list(spec.shape)}
