"""The Dockerfiles, read line by line; what they install and copy is really run by the slow tests."""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest
from PIL import Image

from deploy import registry

ROOT = Path(__file__).parents[2]
SERVE = ROOT / "deploy" / "Dockerfile.serve"
TRAIN = ROOT / "deploy" / "Dockerfile.train"
BOTH = pytest.mark.parametrize("dockerfile", [SERVE, TRAIN], ids=lambda path: path.name)

Instruction = tuple[str, str]


def instructions(dockerfile: Path) -> list[Instruction]:
    """(NAME, rest) of every instruction, continuation lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def first_stage(dockerfile: Path) -> list[Instruction]:
    found = instructions(dockerfile)
    later = [index for index, (name, _) in enumerate(found) if name == "FROM"][1:]
    return found[: later[0]] if later else found


def copies(found: list[Instruction]) -> list[tuple[list[str], str]]:
    """(sources, destination) of every COPY."""
    split = [rest.split() for name, rest in found if name == "COPY"]
    return [(parts[:-1], parts[-1]) for parts in split]


def pip_installs(found: list[Instruction]) -> list[list[str]]:
    """The arguments of every `pip install`."""
    commands = [shlex.split(part) for name, rest in found if name == "RUN" for part in rest.split("&&")]
    return [command[2:] for command in commands if command[:2] == ["pip", "install"]]


def pins(path: Path) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1]
        for line in lines
        if line and "==" in line
    }


def requirement_lines(path: Path) -> list[str]:
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


@BOTH
def test_everything_that_is_copied_exists_and_reaches_the_build(dockerfile):
    sources = [source for group, _ in copies(instructions(dockerfile)) for source in group]

    assert len(sources) >= 8
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if is_ignored(source)] == []


def is_ignored(path: str) -> bool:
    """By .dockerignore, whose last matching line wins; patterns here name top-level names only."""
    top = Path(path).parts[0]
    ignored = False
    for line in requirement_lines(ROOT / ".dockerignore"):
        if fnmatch(top, line.removeprefix("!")):
            ignored = not line.startswith("!")
    return ignored


def test_data_history_and_environments_stay_out_of_the_build():
    assert [name for name in (".git", ".venv", "data", "results", "registry") if not is_ignored(name)] == []


@BOTH
def test_no_stage_ends_as_root_and_health_is_checked(dockerfile):
    found = instructions(dockerfile)

    assert set(users_at_the_end(found).values()) == {"10001:10001"}
    assert sum(name == "HEALTHCHECK" for name, _ in found) == 1


def users_at_the_end(found: list[Instruction]) -> dict[str, str]:
    """The user each stage ends with; a stage begins with the one of the stage it is built from."""
    users: dict[str, str] = {}
    stage = ""
    for name, rest in found:
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            users[stage] = users.get(image, "root")
        elif name == "USER":
            users[stage] = rest
    return users


@BOTH
def test_every_image_and_every_installed_package_is_pinned(dockerfile):
    found = instructions(dockerfile)
    stages = {rest.split(" AS ")[1] for name, rest in found if name == "FROM" and " AS " in rest}
    images = [rest.split(" AS ")[0] for name, rest in found if name == "FROM"]

    assert len(images) >= 1
    for image in images:
        assert image in stages or re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image), image
    assert len(pip_installs(found)) >= 1
    for arguments in pip_installs(found):
        assert arguments[1:3] == ["-c", "requirements.lock"], arguments
        for argument in arguments[3:]:
            assert argument in ("-r", "requirements-serve.txt", ".") or "==" in argument, argument


def test_every_line_of_the_lock_is_an_exact_version():
    lines = requirement_lines(ROOT / "requirements.lock")

    assert len(lines) > 50
    assert [line for line in lines if not re.match(r"[A-Za-z0-9._\[\]-]+==[^=\s]+(\s*;.*)?$", line)] == []


def test_the_server_pins_are_those_of_the_lock_and_hold_no_training_library():
    serve, lock = pins(ROOT / "deploy" / "requirements-serve.txt"), pins(ROOT / "requirements.lock")

    assert len(serve) == len(requirement_lines(ROOT / "deploy" / "requirements-serve.txt")) >= 8
    assert {name: version for name, version in serve.items() if lock.get(name) != version} == {}
    assert not {"torch", "torchvision", "prefect", "dvc", "pandas", "great-expectations"} & set(serve)
    assert serve["fastapi"].startswith("0.1")
    inline = re.search(r"onnxruntime-gpu\[cuda,cudnn\]==([\d.]+)", SERVE.read_text(encoding="utf-8"))
    assert inline is not None
    assert inline.group(1) == serve["onnxruntime-gpu"]


def test_the_server_requirements_are_exactly_what_the_copied_files_import(tmp_path):
    package = {"PIL": "pillow", "ruamel": "ruamel.yaml", "onnxruntime": "onnxruntime-gpu"}
    imported: set[str] = set()
    files = list(assemble(SERVE, tmp_path).rglob("*.py"))
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    needed = {package.get(name, name) for name in imported - sys.stdlib_module_names - {"tasks", "deploy"}}

    assert len(files) >= 14
    # fastapi imports the first itself when a body is multipart; the others are loaded where there are sounds or texts.
    assert needed | {"python-multipart", "soundfile", "soxr", "tokenizers"} == set(
        pins(ROOT / "deploy" / "requirements-serve.txt")
    )


def assemble(dockerfile: Path, folder: Path) -> Path:
    """``folder`` as /app looks after the COPY instructions of the first stage."""
    for sources, destination in copies(first_stage(dockerfile)):
        for source in sources:
            target = folder / destination
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, target)
    return folder


def test_the_copied_files_are_enough_to_import_the_server(tmp_path):
    app = assemble(SERVE, tmp_path / "app")
    code = (
        "import json, sys, deploy.server.__main__;"
        "print(json.dumps([module.__file__ for name, module in sys.modules.items()"
        " if name.split('.')[0] in ('tasks', 'deploy')]))"
    )

    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(app)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    files = json.loads(result.stdout)
    assert len(files) >= 12
    assert [file for file in files if not file.startswith(str(app))] == []


# Slow: the install lines, really run in an empty environment


def install(dockerfile: Path, folder: Path) -> Path:
    """Run the first stage's COPY and pip lines in a new environment; returns its python."""
    app = assemble(dockerfile, folder / "app")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    commands = pip_installs(first_stage(dockerfile))
    assert len(commands) == 1
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *commands[0]], cwd=app, check=True)
    return python


def clean_environment(**changes: str) -> dict[str, str]:
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    return {key: value for key, value in os.environ.items() if key not in hidden} | changes


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_serving_image_answers_without_torch(published, tmp_path):
    python = install(SERVE, tmp_path)
    registry.promote(published, "cam7", 1, by="ana", reason="a test")
    installed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = json.loads(next(rest for name, rest in first_stage(SERVE) if name == "CMD"))
    command = [str(python), *command[1:]]
    command[command.index("/workspace")] = str(published.root)
    command[command.index("0.0.0.0")] = "127.0.0.1"
    command[command.index("8000")] = str(port)
    environment = clean_environment(PYTHONPATH=str(tmp_path / "app"), ACCLIMATE_DEVICE="cpu")
    picture = tmp_path / "red.png"
    Image.new("RGB", (20, 20), (200, 30, 30)).save(picture)

    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            response = ask(f"http://127.0.0.1:{port}", picture, process)
        finally:
            process.send_signal(signal.SIGTERM)

    assert response.json()["class"] == "red"
    assert not re.search(r"(?mi)^(torch|prefect|dvc|pandas|onnx)==", installed)


def ask(url: str, picture: Path, process: subprocess.Popen) -> httpx.Response:
    deadline = time.monotonic() + 120
    with httpx.Client(base_url=url, timeout=30) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get("/ready").status_code == 200:
                    with picture.open("rb") as file:
                        return client.post("/predict/cam7", files={"image": file})
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise AssertionError("the server never became ready")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_training_image_installs_and_its_command_runs(tmp_path):
    python = install(TRAIN, tmp_path)
    health = next(rest for name, rest in first_stage(TRAIN) if name == "HEALTHCHECK")
    command = json.loads(health[health.index("[") :])

    result = subprocess.run(
        [str(python.parent / command[0]), *command[1:]],
        cwd=tmp_path,
        env=clean_environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    check = subprocess.run([str(python), "-m", "pip", "check"], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert "predict" in result.stdout
    assert check.returncode == 0, check.stdout
