"""Which code and which library versions a result depends on.

The files that a stage imports, followed through this project's packages by reading the source, not
by importing it. In the checkout dvc.yaml lists exactly these files (a test compares); in other
workspaces a generated digest of them stands in, since the modules live elsewhere.
"""

import ast
import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
LOCAL_PACKAGES = ("tasks", "deploy", "flows")

# Files that are no modules but decide what a stage writes, by the stage that reads them.
DATA_FILES = {
    "tasks.stages.adapt": "tasks/config/presets.yaml",
    "tasks.stages.report": "tasks/report/templates/*.j2",
    "tasks.checks.suite": "tasks/checks/suites/**/*.yaml",
}

# Packages whose modules are imported by a name that params.yaml holds, by the module that does so.
FOUND_BY_NAME = {"tasks.losses.presets.find": "tasks.losses"}

# Libraries whose version can change what a stage writes.
DECISIVE_LIBRARIES = (
    "great_expectations",
    "imagehash",
    "numpy",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pillow",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)


def code_files(module: str) -> list[str]:
    """Files of this project that importing ``module`` can reach, POSIX paths from the project's root, sorted.

    Imports inside functions count, and so do :data:`DATA_FILES` and what :data:`FOUND_BY_NAME` may import.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _module_file(name)
        if path is None or path in found:
            continue
        found.add(path)
        found.update(_data_files(name))
        waiting.extend([*_imported_modules(path), *_modules_found_by_name(name)])
    return sorted(found)


ALWAYS_WHOLE = (Path("tasks/config"), Path("tasks/domains"))
"""Folders that dvc.yaml names as a whole wherever a stage uses a part.

Every stage reads params.yaml, and dvc.yaml does not say which kind it asks for.
"""


def code_deps(module: str) -> list[str]:
    """:func:`code_files` as dvc.yaml lists them: a folder that is used as a whole stands for its files."""
    files = set(code_files(module))
    folders = {parent for path in files for parent in Path(path).parents if len(parent.parts) > 1}
    whole = {folder for folder in folders if folder in ALWAYS_WHOLE or _code_below(folder) <= files}
    largest = {folder for folder in whole if not whole & set(folder.parents)}
    loose = {path for path in files if not largest & set(Path(path).parents)}
    return sorted({folder.as_posix() for folder in largest} | loose)


def _code_below(folder: Path) -> set[str]:
    """Files in and below ``folder`` that hold code; an empty ``__init__.py`` holds none."""
    return {
        path.relative_to(PACKAGE_ROOT).as_posix()
        for path in (PACKAGE_ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size > 0
    }


def code_digest(module: str) -> str:
    """SHA-256 over the names and contents of :func:`code_files`, the same wherever the project lies."""
    digest = hashlib.sha256()
    for path in code_files(module):
        content = (PACKAGE_ROOT / path).read_bytes()
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide results, by distribution name."""
    versions = {}
    for name in DECISIVE_LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # onnxruntime and onnxruntime-gpu exclude each other
    return versions


def acclimate_version() -> str:
    """The version of this project as installed."""
    return metadata.version("acclimate")


def _module_file(name: str) -> str | None:
    relative = Path(*name.split("."))
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if (PACKAGE_ROOT / candidate).is_file():
            return candidate.as_posix()
    return None


def _data_files(name: str) -> set[str]:
    pattern = DATA_FILES.get(name)
    if pattern is None:
        return set()
    return {path.relative_to(PACKAGE_ROOT).as_posix() for path in PACKAGE_ROOT.glob(pattern)}


def _modules_found_by_name(name: str) -> list[str]:
    package = FOUND_BY_NAME.get(name)
    if package is None:
        return []
    return [f"{package}.{path.stem}" for path in (PACKAGE_ROOT / Path(*package.split("."))).glob("*.py")]


def _imported_modules(path: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse((PACKAGE_ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)  # `from tasks import gate`
    return [name for name in names if name.split(".")[0] in LOCAL_PACKAGES]
