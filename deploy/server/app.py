"""The HTTP server: an example in, class and probabilities out, for every target of a workspace.

    POST /predict/{target}   an encoded example as body, or as a multipart field named after its kind; of kinds that come in
                             rows also many at once, as JSON {"texts": [...]}
    GET  /health             the process lives
    GET  /ready              at least one target can be answered for (else 503), and what is wrong with which
    GET  /ready/{target}     this one can be (else 503, or 404)
    GET  /targets            what can be asked

onnxruntime does the work in threads, and decoders in processes of their own; torch is not needed. A champion that was
promoted or rolled back takes over between two requests. Every queue, body and connection has its bound in
``params.yaml``, section ``service``.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from deploy.server.bodies import Bodies, example_in, examples_in, is_json, refuse_content_type
from deploy.server.busy import ClientLeftError, Queue, unless_client_leaves
from deploy.server.connections import MAX_BACKLOG, GuardedProtocol, GuardedServer, limits_for
from deploy.server.decoding import Decoding, lowered
from deploy.server.predictor import Champions, Loaded, TargetState, answer
from deploy.settings import read_kind, read_service
from tasks.config.sections.delivery import ServiceParams
from tasks.domains.contract import InputSpec, UnreadableExample
from tasks.domains.cores import usable_cores
from tasks.domains.kinds import kind_of
from tasks.errors import BadInput, Fault, Refused, reason_of
from tasks.exported.session import Device
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

_REFRESH_INTERVAL_S = 0.5
_GRACE_S = 30
_CLIENT_LEFT = 499
"""The status of an answer that nobody reads, as proxies log it."""

Answer = dict[str, object]
Classify = Callable[[Loaded, bytes], Awaitable[Answer]]


def create_app(
    workspace_root: Path, device: Device = "auto", *, service: ServiceParams | None = None
) -> FastAPI:
    """The application that serves the champions of a workspace; it loads them when it is started.

    Args:
        workspace_root: Whose champions.
        device: Where the models run.
        service: The limits; those of its params.yaml by default.

    Raises:
        ConfigError: ``workspace_root`` is no workspace, or its params.yaml is wrong in what the server reads.
        BadInput: It names a kind of example that this version of acclimate does not know.
    """
    workspace = Workspace(workspace_root.resolve())
    service = service or read_service(workspace)
    params = read_kind(workspace)
    kind = kind_of(params)
    limits = lowered(kind.limits_in(params), {"max_pixels": service.max_pixels})
    champions = Champions(workspace, device, limits)
    bodies = Bodies(service)
    asking = Queue(
        "other examples", num=usable_cores(), max_waiting=service.max_waiting, max_wait_s=service.max_wait_s
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.decoding = Decoding(kind, limits, service)
        # Not awaited: the process is live while models load, and /ready says when they are.
        watcher = asyncio.create_task(_watch(champions, app.state.decoding))
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            await to_thread.run_sync(app.state.decoding.close)

    # No interactive docs: their pages load scripts from elsewhere.
    app = FastAPI(title="acclimate", docs_url=None, redoc_url=None, lifespan=lifespan)

    async def classify(loaded: Loaded, content: bytes) -> Answer:
        example = await app.state.decoding.read(loaded.reader, content)
        return await asking.run(answer, loaded, example, size=len(content))

    @app.post("/predict/{target}")
    async def predict(target: str, request: Request) -> Response:
        loaded = _in_service(champions, target)
        refuse_content_type(request, loaded.reader)
        with _faults_as_answers(loaded):
            async with bodies.of(request) as body:
                asked = (
                    _classify_each(classify, loaded, examples_in(body, loaded.reader))
                    if is_json(request)
                    else classify(loaded, await example_in(request, body, loaded.reader))
                )
                try:
                    return JSONResponse(await unless_client_leaves(request, asked))
                except ClientLeftError:
                    return Response(status_code=_CLIENT_LEFT)

    _add_states(app, champions)
    return app


async def _classify_each(classify: Classify, loaded: Loaded, examples: list[object]) -> Answer:
    """An answer or an error for each example, in their order; so many at once as the machine has cores."""
    places = asyncio.Semaphore(usable_cores())

    async def one(value: object) -> Answer:
        async with places:
            try:
                return await classify(loaded, loaded.reader.of_json(value))
            except UnreadableExample as error:
                return {"error": _unusable(loaded, error)}

    answering = [asyncio.ensure_future(one(value)) for value in examples]
    try:
        return {"answers": await asyncio.gather(*answering)}
    finally:
        for task in answering:  # where one failed for all of them, the others need not be answered
            task.cancel()


@contextlib.contextmanager
def _faults_as_answers(loaded: Loaded) -> Iterator[None]:
    """Answer with the status and the reason where an example cannot be used, or the model or the machine fails."""
    try:
        yield
    except UnreadableExample as error:
        raise HTTPException(422, _unusable(loaded, error)) from error
    except Refused as error:
        raise HTTPException(500, str(error)) from error
    except Fault as error:
        log.error("%s", error)
        raise HTTPException(503, str(error)) from error


def _unusable(loaded: Loaded, error: UnreadableExample) -> str:
    return f"cannot use this {loaded.reader.noun}: {error.reason}"


def _add_states(app: FastAPI, champions: Champions) -> None:
    """Add the addresses that tell what the server can do; none of them waits for a thread."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        targets = {name: _describe_state(state) for name, state in champions.states().items()}
        trouble = champions.trouble
        content = {"ready": trouble is None, "problem": trouble, "targets": targets}
        return JSONResponse(content, 200 if trouble is None else 503)

    @app.get("/ready/{target}")
    async def ready_for(target: str) -> JSONResponse:
        state = _state(champions, target)
        return JSONResponse(_describe_state(state), 200 if state.ready else 503)

    @app.get("/targets")
    async def targets() -> list[dict[str, Any]]:
        return [_describe_target(name, state) for name, state in champions.states().items()]


def serve(workspace_root: Path, host: str = "127.0.0.1", port: int = 8000, device: Device = "auto") -> None:
    """Serve until SIGINT or SIGTERM; requests under way are answered first.

    Raises:
        BadInput: ``workspace_root`` is no workspace, or the address cannot be listened on.
    """
    service = read_service(Workspace(workspace_root.resolve()))
    app = create_app(workspace_root, device, service=service)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=MAX_BACKLOG)
    except OSError as error:
        raise BadInput(
            f"cannot listen on {host}, port {port}: {reason_of(error)}. Choose another --port or --host."
        ) from error
    with listener:
        server_of(app, service).run(sockets=[listener])


def server_of(app: FastAPI, service: ServiceParams) -> uvicorn.Server:
    """The server of an application, whose connections are bounded as ``service`` says."""
    limits = limits_for(service.max_connections, service.headers_s)
    # ws="none": there are no websockets, and looking for a library of them takes time. loop="asyncio": the protocol
    # says how much is read at once, which other loops decide themselves.
    config = uvicorn.Config(
        app,
        http=partial(GuardedProtocol, limits=limits),  # type: ignore[arg-type]  # called like a class
        ws="none",
        loop="asyncio",
        backlog=limits.backlog,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return GuardedServer(config)


async def _watch(champions: Champions, decoding: Decoding) -> None:
    is_loaded = False
    while True:
        try:
            if not is_loaded:
                await to_thread.run_sync(decoding.wait_until_loaded)
                is_loaded = True
            await to_thread.run_sync(champions.refresh)
        except Exception:
            # The loaded models go on serving; the next look may succeed.
            log.exception("cannot start the decoders, or cannot read the registry")
        await asyncio.sleep(_REFRESH_INTERVAL_S)


def _state(champions: Champions, target: str) -> TargetState:
    state = champions.state(target)
    if state is None and not champions.refreshed:
        raise HTTPException(503, "the models are still loading: ask again in a moment")
    if state is None:
        known = ", ".join(champions.states()) or "none"
        raise HTTPException(404, f"unknown target {target!r}; known targets: {known}")
    return state


def _in_service(champions: Champions, target: str) -> Loaded:
    state = _state(champions, target)
    if state.loaded is None:
        reason = (
            state.problem or f"target {target} has no champion yet: `acclimate promote {target}` sets one"
        )
        raise HTTPException(503, reason)
    return state.loaded


def _describe_state(state: TargetState) -> dict[str, object]:
    loaded = state.loaded
    return {
        "ready": state.ready,
        "champion": state.pointed_at,
        "serving": loaded.champion.version if loaded else None,
        "model_sha256": loaded.champion.model_sha256 if loaded else None,
        "provider": loaded.model.provider if loaded else None,
        "problem": state.trouble,
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
