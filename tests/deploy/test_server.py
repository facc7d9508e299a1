"""The server, asked over a real socket, while the registry moves under it."""

import asyncio
import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import httpx
import numpy as np
import pytest
from PIL import Image

from deploy import registry
from deploy.server import predictor
from deploy.server.app import _classify_each, create_app, serve, server_of
from deploy.server.busy import TooBusy
from deploy.settings import read_kind, read_service
from tasks.config.params import load_params
from tasks.errors import BadInput, ConfigError
from tasks.exported.session import OnnxModel, Predictions
from tasks.workspace import Workspace

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60


def image(colour: tuple[int, int, int], kind: str = "PNG", size: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, kind)
    return buffer.getvalue()


RED = (200, 30, 30)
BLUE = (10, 20, 250)


def promote(workspace: Workspace, version: int, target: str = "cam7") -> None:
    registry.promote(workspace, target, version, by="ana", reason="a test")


@contextmanager
def serving(workspace: Workspace, **options) -> Iterator[httpx.Client]:
    """A client of a server of ``workspace``, on a free loopback port, until the block ends."""
    service = read_service(workspace).model_copy(update=options)
    server = server_of(create_app(workspace.root, "cpu", service=service), service)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
                wait_until(lambda: server.started)
                yield client
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def wait_for_version(client: httpx.Client, version: int, target: str = "cam7") -> None:
    wait_until(lambda: client.get("/ready").json()["targets"].get(target, {}).get("serving") == version)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, published_template) -> Iterator[tuple[httpx.Client, Workspace]]:
    """A server of version 1 of cam7, and of cam8 without a champion; tests must not change it."""
    workspace = Workspace(
        shutil.copytree(published_template, tmp_path_factory.mktemp("shared") / "workspace")
    )
    promote(workspace, 1)
    registry.create_registry(workspace, "cam8")
    with serving(workspace, max_body_mb=1) as client:
        wait_until(lambda: client.get("/ready").status_code == 200)
        yield client, workspace


@pytest.fixture
def client(shared) -> httpx.Client:
    return shared[0]


# One request


@pytest.mark.parametrize(("colour", "name"), [(RED, "red"), (BLUE, "blue")])
def test_an_image_is_answered_with_class_probabilities_and_who_says_so(shared, onnx_models, colour, name):
    client, workspace = shared
    record = registry.read_version(workspace, "cam7", 1)

    response = client.post("/predict/cam7", content=image(colour), headers={"content-type": "image/png"})

    assert response.status_code == 200, response.text
    answer = response.json()
    pixels = np.full((1, 8, 8, 3), colour, dtype=np.uint8)
    expected = onnx_models.expected_probabilities(pixels)[0]
    assert answer["class"] == name
    assert answer["probabilities"] == pytest.approx(
        dict(zip(("red", "green", "blue"), expected, strict=True)), abs=1e-5
    )
    assert answer["target"] == "cam7"
    assert answer["version"] == 1
    assert answer["model_sha256"] == record.model_sha256
    assert answer["unsure"] is False
    assert answer["possible"] == [name]


@pytest.mark.parametrize(
    "send",
    [
        pytest.param({"content": image(RED)}, id="no-content-type"),
        pytest.param(
            {"content": image(RED, "JPEG"), "headers": {"content-type": "image/jpeg"}}, id="image-jpeg"
        ),
        pytest.param(
            {"content": image(RED), "headers": {"content-type": "application/octet-stream"}}, id="octets"
        ),
        pytest.param({"files": {"image": ("ä b.png", image(RED), "image/png")}}, id="multipart"),
        pytest.param({"files": {"image": ("x", image(RED))}, "data": {"note": "kept out"}}, id="more-fields"),
        pytest.param({"content": iter([image(RED)[:50], image(RED)[50:]])}, id="chunked"),
    ],
)
def test_every_way_of_sending_an_image_gives_the_same_answer(client, send):
    response = client.post("/predict/cam7", **send)

    assert response.status_code == 200, response.text
    assert response.json()["class"] == "red"


@pytest.mark.parametrize(
    ("send", "status", "words"),
    [
        pytest.param({"content": b"not an image"}, 422, "cannot use this image: ", id="text"),
        pytest.param({"content": image(RED)[:60]}, 422, "cannot use this image: ", id="truncated"),
        pytest.param({"content": b""}, 422, "the request holds no bytes", id="empty"),
        pytest.param(
            {"content": image(RED, size=1001)}, 422, "claims 1001 x 1001 px", id="more-than-max-pixels"
        ),
        pytest.param(
            {"content": b"x" * 1_100_000}, 413, "1100000 bytes is larger than 1048576", id="too-large"
        ),
        pytest.param(
            {"content": iter([b"x" * 600_000] * 2)}, 413, "larger than 1048576 bytes", id="too-large-chunked"
        ),
        pytest.param({"data": {"image": "text"}}, 415, "x-www-form-urlencoded", id="form"),
        pytest.param({"json": {"image": "base64"}}, 415, "application/json", id="json"),
        pytest.param(
            {"files": {"picture": ("x", b"y")}}, 422, "no file in the field `image`", id="another-field"
        ),
        pytest.param(
            {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
            422,
            "cannot read the multipart body",
            id="multipart-without-boundary",
        ),
        pytest.param(
            {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            422,
            "multipart body",
            id="multipart-garbage",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(client, send, status, words):
    response = client.post("/predict/cam7", **send)

    assert response.status_code == status, response.text
    assert words in response.json()["detail"]


def test_an_unknown_target_is_answered_with_the_known_ones(client):
    response = client.post("/predict/cam9", content=image(RED))

    assert response.status_code == 404
    assert response.json()["detail"] == "unknown target 'cam9'; known targets: cam7, cam8"


def test_a_target_without_a_champion_is_unavailable_but_does_not_make_the_server_unready(client):
    response = client.post("/predict/cam8", content=image(RED))

    assert response.status_code == 503
    assert "target cam8 has no champion yet: `acclimate promote cam8` sets one" in response.json()["detail"]
    assert client.get("/ready").status_code == 200


def test_health_readiness_and_targets_say_what_is_served(client):
    ready = client.get("/ready").json()

    assert client.get("/health").json() == {"status": "alive"}
    assert ready["ready"] is True
    assert ready["targets"]["cam7"]["serving"] == ready["targets"]["cam7"]["champion"] == 1
    assert ready["targets"]["cam7"]["problem"] is None
    assert ready["targets"]["cam8"]["champion"] is None
    assert client.get("/targets").json() == [
        {
            "target": "cam7",
            "version": 1,
            "classes": ["red", "green", "blue"],
            "input": {"kind": "image", "dtype": "uint8", "shape": [8, 8, 3]},
        },
        {"target": "cam8", "version": None, "classes": None, "input": None},
    ]


def test_a_version_of_an_acclimate_that_knew_images_alone_goes_on_being_served(
    workspace, publish, onnx_models
):
    version = publish(workspace, model={"input": None, "preprocessing": onnx_models.BEFORE_KINDS})
    promote(workspace, version)

    assert "kind" not in workspace.params.read_text()
    with serving(workspace) as client:
        wait_for_version(client, version)
        assert client.post("/predict/cam7", content=image(RED)).json()["class"] == "red"


def test_a_champion_whose_images_would_be_prepared_wrongly_is_not_loaded(workspace, publish, onnx_models):
    rule = onnx_models.BEFORE_KINDS | {"resize": "letterbox"}
    promote(workspace, publish(workspace, model={"input": None, "preprocessing": rule}))

    with serving(workspace) as client:
        wait_until(lambda: client.get("/ready").json()["targets"].get("cam7", {}).get("problem"))
        assert (
            "resize: 'letterbox' instead of 'stretch'"
            in client.get("/ready").json()["targets"]["cam7"]["problem"]
        )
        assert client.post("/predict/cam7", content=image(RED)).status_code == 503


def test_many_clients_at_once_each_get_their_own_answer(client):
    answers: dict[int, str] = {}

    def ask(index: int) -> None:
        colour, name = ((RED, "red"), (BLUE, "blue"))[index % 2]
        response = client.post("/predict/cam7", content=image(colour))
        answers[index] = "right" if response.json().get("class") == name else response.text

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert answers == dict.fromkeys(range(24), "right")


# The registry moves


def test_no_request_fails_while_versions_are_promoted_and_rolled_back(published, onnx_models):
    promote(published, 1)
    pixels = np.full((1, 8, 8, 3), RED, dtype=np.uint8)
    expected = {
        version: onnx_models.expected_probabilities(pixels, onnx_models.SHARP * version)[0, 0]
        for version in (1, 2)
    }
    digests = {version: registry.read_version(published, "cam7", version).model_sha256 for version in (1, 2)}
    responses: list[list[httpx.Response]] = [[], []]
    stop = threading.Event()

    def wait_until_both_saw(changes: list[int]) -> None:
        wait_until(lambda: all(versions_in_order(mine) == changes for mine in responses))

    def ask_without_pause(client: httpx.Client, mine: list[httpx.Response]) -> None:
        while not stop.is_set():
            mine.append(client.post("/predict/cam7", content=image(RED)))

    with serving(published) as client:
        wait_for_version(client, 1)
        threads = [threading.Thread(target=ask_without_pause, args=(client, mine)) for mine in responses]
        for thread in threads:
            thread.start()
        try:
            wait_until_both_saw([1])
            promote(published, 2)
            wait_until_both_saw([1, 2])
            assert registry.rollback(published, "cam7", by="ana", reason="a test") == 1
            wait_until_both_saw([1, 2, 1])
        finally:
            stop.set()
            for thread in threads:
                thread.join(DEADLINE_S)

    for mine in responses:
        assert {response.status_code for response in mine} == {200}
        for answer in (response.json() for response in mine):
            # Version, digest and numbers are of one model, also in the moment of the change.
            assert answer["model_sha256"] == digests[answer["version"]]
            assert answer["probabilities"]["red"] == pytest.approx(expected[answer["version"]], abs=1e-5)


def versions_in_order(responses: list[httpx.Response]) -> list[int]:
    """The versions that answered, without repetitions; a failed request stands as its status."""
    found = [
        item.json()["version"] if item.status_code == 200 else item.status_code for item in list(responses)
    ]
    return [b for a, b in zip([None, *found], found, strict=False) if a != b]


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_in_service(published, tmp_path):
    promote(published, 1)
    # As after a `git pull` of somebody's promotion, before the `dvc pull`.
    elsewhere = Workspace(shutil.copytree(published.root, tmp_path / "elsewhere"))
    promote(elsewhere, 2)
    path = registry.model_path(published, "cam7", 2)
    content = path.read_bytes()

    with serving(published) as client:
        wait_for_version(client, 1)

        path.unlink()
        shutil.copy(elsewhere.champion("cam7"), published.champion("cam7"))
        wait_until(lambda: client.get("/ready").json()["targets"]["cam7"]["problem"] is not None)
        ready = client.get("/ready")

        assert ready.status_code == 200
        assert ready.json()["targets"]["cam7"]["champion"] == 2
        assert ready.json()["targets"]["cam7"]["serving"] == 1
        problem = ready.json()["targets"]["cam7"]["problem"]
        assert "`dvc pull registry/cam7/versions/2/model.onnx.dvc`" in problem
        assert str(published.root) not in problem
        assert client.post("/predict/cam7", content=image(RED)).json()["version"] == 1

        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        wait_until(
            lambda: "must not serve" in (client.get("/ready").json()["targets"]["cam7"]["problem"] or "")
        )
        assert client.post("/predict/cam7", content=image(RED)).json()["version"] == 1

        path.write_bytes(content)
        wait_for_version(client, 2)
        assert client.get("/ready").json()["targets"]["cam7"]["problem"] is None


def test_a_server_whose_only_champion_cannot_be_loaded_is_alive_and_not_ready(published):
    promote(published, 1)
    registry.model_path(published, "cam7", 1).write_bytes(b"damaged")

    with serving(published) as client:
        wait_until(lambda: "must not serve" in str(client.get("/ready").json()))

        assert client.get("/ready").status_code == 503
        assert client.get("/ready").json()["ready"] is False
        assert client.get("/health").status_code == 200
        response = client.post("/predict/cam7", content=image(RED))
        assert response.status_code == 503
        assert "must not serve" in response.json()["detail"]


def test_a_target_that_is_registered_later_is_served_without_a_restart(published, publish):
    promote(published, 1)
    with serving(published) as client:
        wait_for_version(client, 1)

        publish(published, target="cam8")
        promote(published, 1, "cam8")
        wait_for_version(client, 1, "cam8")

        assert client.post("/predict/cam8", content=image(BLUE)).json()["target"] == "cam8"


def test_a_registry_that_vanishes_for_a_moment_does_not_stop_the_service(published):
    promote(published, 1)
    with serving(published) as client:
        wait_for_version(client, 1)

        published.registry("cam7").rename(published.root / "aside")
        wait_until(lambda: client.get("/ready").json()["targets"]["cam7"]["problem"] is not None)
        assert client.post("/predict/cam7", content=image(RED)).status_code == 200

        (published.root / "aside").rename(published.registry("cam7"))
        wait_until(lambda: client.get("/ready").json()["targets"]["cam7"]["problem"] is None)


def test_a_model_made_for_another_target_never_serves(published):
    promote(published, 1)
    shutil.copytree(published.registry("cam7"), published.registry("cam8"))

    with serving(published) as client:
        wait_until(lambda: "made for the target 'cam7'" in str(client.get("/ready").json()))
        assert client.post("/predict/cam8", content=image(RED)).status_code == 503
        assert client.post("/predict/cam7", content=image(RED)).status_code == 200


# Readiness


def test_a_target_whose_bytes_are_missing_does_not_make_the_others_unready(published, publish):
    promote(published, 1)
    publish(published, target="cam8")
    promote(published, 1, "cam8")
    registry.model_path(published, "cam8", 1).unlink()

    with serving(published) as client:
        wait_for_version(client, 1)
        wait_until(lambda: client.get("/ready").json()["targets"].get("cam8", {}).get("problem"))
        ready = client.get("/ready")

        assert (ready.status_code, ready.json()["ready"], ready.json()["problem"]) == (200, True, None)
        assert {name: state["ready"] for name, state in ready.json()["targets"].items()} == {
            "cam7": True,
            "cam8": False,
        }
        assert (
            "`dvc pull registry/cam8/versions/1/model.onnx.dvc`" in ready.json()["targets"]["cam8"]["problem"]
        )
        assert [client.get(f"/ready/{target}").status_code for target in ("cam7", "cam8", "cam9")] == [
            200,
            503,
            404,
        ]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda folder: shutil.rmtree(folder), "cannot be read (No such file or directory)", id="missing"),
        pytest.param(lambda folder: (shutil.rmtree(folder), folder.mkdir()), "is empty", id="empty"),
        pytest.param(
            lambda folder: (shutil.rmtree(folder), (folder / "lost+found").mkdir(parents=True)),
            "holds no target",
            id="another-disk",
        ),
    ],
)  # fmt: skip
def test_a_registry_that_is_not_mounted_is_not_ready_and_is_once_it_comes(published, tmp_path, spoil, words):
    promote(published, 1)
    kept = shutil.copytree(published.root / "registry", tmp_path / "kept")
    spoil(published.root / "registry")

    with serving(published) as client:
        wait_until(lambda: "loading" not in client.get("/ready").json()["problem"])
        ready = client.get("/ready")

        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert words in ready.json()["problem"]
        assert client.get("/health").status_code == 200
        shutil.copytree(kept, published.root / "registry", dirs_exist_ok=True)
        wait_until(lambda: client.get("/ready").status_code == 200)


def test_a_workspace_in_which_nothing_was_promoted_yet_says_so_and_is_not_ready(published):
    with serving(published) as client:
        wait_until(lambda: "loading" not in client.get("/ready").json()["problem"])
        ready = client.get("/ready")

    assert ready.status_code == 503
    assert ready.json()["problem"] == "no target has a champion yet: `acclimate promote TARGET` sets one"


def test_a_model_fails_a_few_examples_before_its_target_is_not_ready_and_one_answer_mends_that(
    published, monkeypatch, caplog
):
    promote(published, 1)
    is_broken = threading.Event()
    working = predictor.predict

    def predict(model: OnnxModel, batch_NX: np.ndarray) -> Predictions:
        if is_broken.is_set():
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered\nand more")
        return working(model, batch_NX)

    monkeypatch.setattr(predictor, "predict", predict)
    with caplog.at_level(logging.INFO), serving(published) as client:
        wait_for_version(client, 1)
        is_broken.set()
        answers = [
            client.post("/predict/cam7", content=image(RED)) for _ in range(predictor.MAX_FAILURES - 1)
        ]
        assert client.get("/ready").status_code == 200
        answers.append(client.post("/predict/cam7", content=image(RED)))
        ready = client.get("/ready")

        assert {answer.status_code for answer in answers} == {500}
        assert "version 1 of cam7 failed (CUDA failure 700: an illegal" in answers[0].json()["detail"]
        assert (ready.status_code, client.get("/ready/cam7").status_code) == (503, 503)
        assert "the last 5 examples had no answer" in ready.json()["targets"]["cam7"]["problem"]
        # No request comes while a balancer keeps them away: the server asks again by itself.
        is_broken.clear()
        wait_until(lambda: client.get("/ready").status_code == 200)
        assert client.post("/predict/cam7", content=image(RED)).json()["class"] == "red"
    assert "cam7: not ready: the last 5 examples" in caplog.text
    assert "cam7: ready again" in caplog.text


def test_uploads_that_are_no_images_say_nothing_about_the_model(published):
    promote(published, 1)
    with serving(published) as client:
        wait_for_version(client, 1)
        for _ in range(predictor.MAX_FAILURES + 1):
            assert client.post("/predict/cam7", content=b"no image").status_code == 422

        assert client.get("/ready").status_code == 200


# The process


def test_where_one_of_many_examples_finds_no_room_the_others_are_not_worked_on():
    begun: list[bytes] = []

    async def classify(loaded: object, content: bytes) -> dict[str, object]:
        begun.append(content)
        await asyncio.sleep(0)
        if content == b"2":
            raise TooBusy("other examples")
        await asyncio.sleep(3600)
        return {}

    loaded = mock.Mock()
    loaded.reader.of_json = str.encode

    async def ask() -> int:
        with pytest.raises(TooBusy):
            await _classify_each(classify, loaded, [str(number) for number in range(2, 500)])
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(ask()) == 1
    assert len(begun) < 100


def test_limits_that_an_older_workspace_does_not_name_are_those_of_the_template(workspace):
    assert "service" not in workspace.params.read_text()
    template = load_params(ROOT / "tasks" / "config" / "templates" / "params.yaml").service

    assert read_service(workspace).model_dump() == template.model_dump()
    assert "grey_range" not in workspace.params.read_text()
    assert read_kind(workspace).images.grey_range is None


def test_a_limit_that_is_named_counts_and_a_wrong_one_is_refused_by_its_key(workspace):
    params = workspace.params.read_text()
    workspace.params.write_text(params + "service: {max_waiting: 3, of a newer acclimate: 1}\n")
    assert read_service(workspace).max_waiting == 3

    workspace.params.write_text(params + "service: {decode_s: 0}\n")
    with pytest.raises(ConfigError, match=r"service\.decode_s: .*got 0"):
        create_app(workspace.root)


def test_a_folder_that_is_no_workspace_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist: .* is no workspace"):
        create_app(tmp_path)


def test_a_wrong_image_limit_is_named_by_key_and_training_keys_are_not_read(tmp_path):
    (tmp_path / "params.yaml").write_text("images: {size_px: 8, max_pixels: none}\nadapt: 3\n")

    with pytest.raises(ConfigError, match=r"images\.max_pixels: .*got 'none'") as caught:
        create_app(tmp_path)
    assert "adapt" not in str(caught.value)


def test_a_port_in_use_is_one_clear_line(workspace):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            BadInput, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"
        ):
            serve(workspace.root, "127.0.0.1", port)


def test_the_process_serves_without_torch_and_ends_on_sigterm(published):
    promote(published, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "deploy.server", "--workspace", str(published.root), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until(lambda: is_ready(client) or process.poll() is not None)
                response = client.post("/predict/cam7", content=image(RED))
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=DEADLINE_S)

    assert response.json()["class"] == "red"
    assert "Traceback" not in output
    assert "Finished server process" in output


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_an_unknown_device_is_refused_before_anything_starts(workspace):
    result = subprocess.run(
        [sys.executable, "-m", "deploy.server", "--workspace", str(workspace.root)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "ACCLIMATE_DEVICE": "gpu"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "ACCLIMATE_DEVICE is 'gpu'; choose from auto, cuda, tensorrt, cpu" in result.stderr


def test_serving_imports_neither_training_nor_orchestration(published):
    """Not only the modules: a loaded champion and an answer, too."""
    promote(published, 1)
    code = f"""
import json, sys
from pathlib import Path
import deploy.server.app
from deploy.server.predictor import Champions, answer
champions = Champions(deploy.server.app.Workspace(Path({str(published.root)!r})), "cpu", {{"max_pixels": 1000}})
champions.refresh()
loaded = champions.state("cam7").loaded
answer(loaded, loaded.reader.read({image(RED)!r}))
unwanted = {{"torch", "torchvision", "timm", "pandas", "prefect", "great_expectations", "dvc", "pyarrow", "onnx"}}
print(json.dumps(sorted(unwanted & set(sys.modules))))
"""

    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(result.stdout) == []
