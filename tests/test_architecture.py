"""The layers of the code: imports point down, and dvc.yaml, the code, the flows and params.yaml agree."""

import ast
import graphlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.runs.child import StageRun
from flows.runs.process import STAGES
from flows.runs.walk import SHARED_STAGES, TARGET_STAGES, walk
from tasks.config.params import Params, load_params
from tasks.config.per_target import SECTIONS
from tasks.config.sections.presets import loss_names
from tasks.provenance import code_deps, code_files
from tests.support.tiny import CHECKOUT

PIPELINE = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text())["stages"]
STAGE_MODULES = {f"tasks.stages.{stage}" for stage in STAGES}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("flows", "tasks", "deploy"):
        for path in (CHECKOUT / package).rglob("*.py"):
            found[".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")] = path
    assert len(found) > 40
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


# Layers of the code, the lowest first; a package may import its own layer and those below it.
FLOORS = (
    ("tasks", "tasks.errors", "tasks.workspace"),
    ("tasks.amounts", "tasks.environment", "tasks.files", "tasks.provenance"),
    ("tasks.config",),
    ("tasks.domains", "tasks.losses", "tasks.models", "tasks.records", "tasks.selection"),
    ("tasks.exported",),
    ("tasks.checks", "tasks.engine", "tasks.judgement", "tasks.report"),
    ("tasks.audit", "tasks.stages"),
    ("deploy",),
    ("flows",),
)
# deploy is beside training and not above it: its image has no torch.
FORBIDDEN = (
    ("deploy", ("tasks.checks", "tasks.engine", "tasks.judgement", "tasks.losses", "tasks.models", "tasks.report",
                "tasks.audit", "tasks.selection", "tasks.stages", "flows")),
    ("tasks.selection", ("tasks.judgement",)),
    ("tasks.audit", ("tasks.stages",)),
    ("tasks.stages", ("tasks.audit",)),
)  # fmt: skip


def room(module: str) -> str:
    """The part of the code that ``module`` belongs to: a package, or a loose module of tasks/."""
    return ".".join(module.split(".")[: 2 if module.startswith("tasks") else 1])


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def import_graph() -> dict[str, set[str]]:
    known = modules()
    return {module: {name for name in imports(path) if name in known} for module, path in known.items()}


def test_imports_point_down():
    upward = [
        f"{module} imports {name}"
        for module, names in import_graph().items()
        for name in names
        if floor(name) > floor(module)
    ]

    assert upward == []


@pytest.mark.parametrize(("importer", "walled_off"), FORBIDDEN, ids=lambda value: str(value)[:20])
def test_what_is_walled_off_is_not_imported(importer: str, walled_off: tuple[str, ...]):
    strays = [
        f"{module} imports {name}"
        for module, names in import_graph().items()
        for name in names
        if room(module) == importer and room(name) in walled_off
    ]

    assert strays == []


def test_no_stage_imports_a_stage():
    strays = [
        f"{module} imports {name}"
        for module, names in import_graph().items()
        for name in names
        if module in STAGE_MODULES and name in STAGE_MODULES and name != module
    ]

    assert strays == []


def test_the_engine_knows_what_a_loss_is_and_no_loss_by_name():
    graph = import_graph()
    known = {name for module, names in graph.items() if room(module) == "tasks.engine" for name in names}

    assert known & {f"tasks.losses.{name}" for name in loss_names()} == set()
    assert {name for name in graph["tasks.engine.trainer"] if room(name) == "tasks.losses"} == {
        "tasks.losses.contract.batch",
        "tasks.losses.contract.terms",
    }


def test_finetune_depends_on_no_target_loss_and_adapt_on_all_of_them():
    losses = {f"tasks/losses/{name}.py" for name in loss_names()}

    assert len(losses) > 10
    assert losses & set(code_files("tasks.stages.finetune")) == set()
    assert losses <= set(code_files("tasks.stages.adapt"))


# Every file that stages hand each other, and the one module that writes and reads it.
RECORDS = {
    "manifest.parquet": "tasks.records.manifest",
    "manifest.json": "tasks.records.manifest",
    "index.parquet": "tasks.records.features",
    "info.json": "tasks.records.features",
    "candidates.json": "tasks.records.candidates",
    "candidate.json": "tasks.records.candidates",
    "outputs.safetensors": "tasks.records.candidates",
    "training.json": "tasks.records.training",
}


def strings(path: Path) -> set[str]:
    """The texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    }


@pytest.mark.parametrize(("name", "record"), RECORDS.items(), ids=RECORDS)
def test_a_record_is_named_and_so_read_and_written_by_its_own_module_alone(name: str, record: str):
    naming = {
        module
        for module, path in modules().items()
        if any(re.search(rf"(^|[^\w-]){re.escape(name)}$", text) for text in strings(path))
    }

    assert naming == {record}


def test_json_that_anybody_may_have_written_is_parsed_in_one_place():
    parsing = [module for module, path in modules().items() if "json.loads(" in path.read_text()]

    assert parsing == ["tasks.files"]


def test_no_import_goes_round_in_a_circle():
    graph = import_graph()
    order = graphlib.TopologicalSorter({module: names - {module} for module, names in graph.items()})

    order.prepare()


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("great_expectations", ("tasks.checks.expectations",)),
        ("torch", ("tasks.losses", "tasks.engine", "tasks.models", "tasks.audit.candidates", "tasks.stages.export")),
        ("dvc", ("flows.runs.dvc_worker", "flows.workspaces.push")),
    ],
)  # fmt: skip
def test_a_library_is_imported_only_where_it_lives(library: str, places: tuple[str, ...]):
    strays = [
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == library for name in imports(path))
        and not module.startswith(places or ("-",))
    ]

    assert strays == []


def test_prefect_is_imported_at_the_top_of_flows_only():
    importers = {
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == "prefect" for name in imports(path))
    }

    assert importers
    assert [module for module in importers if not re.fullmatch(r"flows\.\w+", module)] == []
    assert {path.stem for path in (CHECKOUT / "flows").glob("*.py")} == {
        "__init__", "arrive", "catch_up", "cli", "deployments", "pipeline", "prefect_server", "release", "up",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (
            "flows.cli",
            {
                "torch",
                "prefect",
                "great_expectations",
                "pandas",
                "onnxruntime",
                "sklearn",
                "matplotlib",
                "PIL",
            },
        ),
        ("deploy.server.app", {"torch", "prefect", "great_expectations", "pandas", "sklearn", "matplotlib"}),
        ("tasks.stages.views", {"torch", "prefect", "great_expectations", "pandas"}),
        ("tasks.stages.gate", {"torch", "prefect", "great_expectations"}),
        ("tasks.audit.replay", {"torch", "prefect", "great_expectations"}),
        ("flows.commands.gate_audit", {"torch", "prefect", "great_expectations"}),
        ("tasks.stages.probe", {"torch", "prefect", "great_expectations"}),
        ("tasks.stages.report", {"torch", "prefect", "great_expectations"}),
    ],
)
def test_importing_a_module_does_not_load(module: str, absent: set[str]):
    code = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


IMAGE_ROOMS = ("tasks.domains.image", "tasks.models.backbones.image", "tasks.engine.augment.image")
OTHER_KINDS = ("text", "sound", "table")
ROOMS = (
    *IMAGE_ROOMS,
    *(
        f"{room}.{kind}"
        for room in ("tasks.domains", "tasks.models.backbones", "tasks.engine.augment")
        for kind in OTHER_KINDS
    ),
    "tasks.models.backbones.spectrum",
)
CHOOSE_A_KIND = {"tasks.domains.kinds", "tasks.models.backbones.build", "tasks.engine.augment.build"}


def outside_image_rooms() -> dict[str, Path]:
    return {module: path for module, path in modules().items() if not module.startswith(IMAGE_ROOMS)}


def names_in(path: Path) -> set[str]:
    """Identifiers, attributes, arguments and whole texts of a module, its comments and docstrings aside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case (
                ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name))
            ):
                names.add(name)
            case ast.Constant(value=str(name)):
                names.add(name)
    return names


def test_only_the_rooms_of_images_know_how_large_one_is_and_where_its_channels_are():
    its_section = "tasks.config.sections.data"
    strays = [
        f"{module}: {name}"
        for module, path in outside_image_rooms().items()
        for name in names_in(path)
        if (name == "size_px" and module != its_section)
        or re.search(r"_[A-Z]*(SS3|SSC|HW3|HWC|3HW|3SS)$", name)
    ]

    assert strays == []


DEMOS = {
    f"flows.commands.demo imports tasks.domains.{name}"
    for name in ("image.digits", "sound.voices", "table.exercises", "text.sentences")
}
"""The data of the demos are made in the rooms of their kinds."""


def test_only_the_rooms_of_images_open_one_and_only_where_a_kind_is_chosen_are_they_entered():
    strays = [
        f"{module} imports {name}"
        for module, path in outside_image_rooms().items()
        for name in imports(path)
        if name.split(".")[0] in ("PIL", "imagehash")
        or (name.startswith(IMAGE_ROOMS) and name in modules() and module not in CHOOSE_A_KIND)
    ]

    assert [stray for stray in strays if stray not in DEMOS] == []


def test_the_rooms_of_a_kind_are_entered_only_where_a_kind_is_chosen_and_from_each_other():
    strays = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imports(path)
        if not module.startswith(ROOMS)
        and module not in CHOOSE_A_KIND
        and name.startswith(ROOMS)
        and name in modules()
    ]

    assert set(strays) == DEMOS


def test_no_module_tells_a_kind_by_the_type_of_its_numbers():
    strays = [
        f"{module}:{node.lineno}"
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and "dtype" in (text := ast.unparse(node)) and "uint8" in text
    ]

    assert strays == []


def test_a_kind_is_chosen_in_one_place_per_half():
    choosing = {
        module
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.MatchValue | ast.Compare) and "'image'" in ast.unparse(node))
    }

    assert choosing == CHOOSE_A_KIND


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_deps_of_a_stage_are_exactly_what_it_imports(stage: str):
    declared = [dep for dep in PIPELINE[stage]["deps"] if dep.startswith(("tasks/", "deploy/", "flows/"))]

    assert sorted(declared) == code_deps(f"tasks.stages.{stage}")
    assert "requirements.lock" in PIPELINE[stage]["deps"]


def test_stages_modules_flows_and_pipeline_have_the_same_names():
    assert set(PIPELINE) == set(STAGES)
    assert set(STAGES) == {*(stage for stage, _ in SHARED_STAGES), *TARGET_STAGES}
    assert set(modules()) >= STAGE_MODULES
    for stage in STAGES:
        assert PIPELINE[stage]["cmd"].split()[:4] == ["exec", "acclimate", "stage", stage]


def test_the_flow_walks_in_an_order_that_dvc_yaml_allows():
    walked: list[str] = []

    def note(stage: str, target: str | None) -> StageRun:
        walked.append(f"{stage}@{target}" if target else stage)
        return StageRun(stage, target, "ran", 0.0, 0)

    walk(["one", "two"], note)

    made_by = {}
    for name in walked:
        stage, _, item = name.partition("@")
        for out in PIPELINE[stage]["outs"]:
            path = next(iter(out)) if isinstance(out, dict) else out
            made_by[path.replace("${item.domain}", item).replace("${item.target}", item)] = name
    assert len(walked) == len(set(walked)) == 3 + 2 * 9
    assert walked.index("report@one") < walked.index("manifest@two")
    for name in walked:
        stage, _, item = name.partition("@")
        for dep in PIPELINE[stage]["deps"]:
            dep = dep.replace("${item.domain}", item).replace("${item.target}", item)
            makers = [maker for path, maker in made_by.items() if dep == path or dep.startswith(f"{path}/")]
            for maker in makers:
                assert walked.index(maker) < walked.index(name), f"{name} reads {dep} before {maker} made it"


def test_every_parameter_that_a_stage_depends_on_exists():
    params = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    for stage, definition in PIPELINE.items():
        for key in definition["params"]:
            if isinstance(key, dict):
                assert key in [{"targets/${item.target}.yaml": [name]} for name in SECTIONS]
                continue
            value = params
            for part in key.split("."):
                assert part in value, f"dvc.yaml: stage {stage} names the parameter {key}"
                value = value[part]


def test_both_parameter_files_describe_a_run_and_have_the_same_keys():
    def keys(value: object, prefix: str = "") -> set[str]:
        if not isinstance(value, dict) or prefix == "adapt.presets.":
            return {prefix}
        return {key for name, inner in value.items() for key in keys(inner, f"{prefix}{name}.")}

    files = [CHECKOUT / "params.yaml", CHECKOUT / "tasks" / "config" / "templates" / "params.yaml"]

    assert [isinstance(load_params(path), Params) for path in files] == [True, True]
    demo, photographs = (keys(yaml.safe_load(path.read_text())) for path in files)
    assert demo == photographs


def test_every_parameter_says_what_it_is():
    sections = [field.annotation for field in Params.model_fields.values()]
    fields = {
        f"{section.__name__}.{name}": field
        for section in sections
        if isinstance(section, type) and hasattr(section, "model_fields")
        for name, field in section.model_fields.items()
    }

    assert len(fields) > 50
    assert [name for name, field in fields.items() if not field.description] == []


def texts(path: Path) -> set[object]:
    return {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("selection.json", "tasks.records.selection"),
        ("to_label.csv", "tasks.records.to_label"),
        ("result.json", "tasks.records.result"),
        ("export.json", "tasks.records.export"),
    ],
)
def test_a_file_that_stages_hand_each_other_is_named_in_its_record_alone(file: str, record: str):
    assert [module for module, path in modules().items() if file in texts(path)] == [record]


def test_no_two_stages_share_an_output():
    outs = [next(iter(o)) if isinstance(o, dict) else o for stage in PIPELINE.values() for o in stage["outs"]]

    assert len(outs) == len(set(outs)) == 18


def test_modules_are_short():
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items()}

    # The data checks are still one module.
    assert {module for module, lines in lengths.items() if lines > 450} == set()


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the function below its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_what_is_handed_on_has_a_type():
    """A mapping of anything is for a stranger's YAML or JSON, before it is checked."""
    untyped = sum(path.read_text().count("dict[str, Any]") for path in modules().values())

    assert untyped <= 30


def test_functions_are_short():
    lengths = [
        body_lines(node)
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert len(lengths) > 900
    assert statistics.median(lengths) <= 6
    assert sum(length > 40 for length in lengths) <= 0.01 * len(lengths)


def calls(name: str) -> list[tuple[str, ast.Call]]:
    return [
        (module, node)
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name
    ]


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def test_no_program_that_is_started_finds_modules_in_the_folder_that_a_person_is_in():
    assert [m for m, path in modules().items() if 'sys.executable, "-m"' in path.read_text()] == []


def test_no_pickle_crosses_a_boundary():
    picklers = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}

    assert [
        m for m, path in modules().items() if picklers & {name.split(".")[0] for name in imports(path)}
    ] == []
    assert [m for m, call in calls("torch.load") if keyword(call, "weights_only") is not True] == []
    assert [m for m, call in calls("np.load") if keyword(call, "allow_pickle") is not False] == []
    assert len(calls("torch.load")) + len(calls("np.load")) >= 2


def test_no_arithmetic_is_done_for_nothing():
    """A line that begins with the operator of the one before is a statement of its own, and ruff lets it pass."""
    wasted = [
        f"{module}:{node.lineno}"
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.BinOp | ast.UnaryOp | ast.Compare)
    ]

    assert wasted == []


def test_every_command_is_explained_and_those_of_the_readme_exist():
    from flows.cli import app

    commands = {
        command.name or command.callback.__name__: command.callback for command in app.registered_commands
    }
    mentioned = set(
        re.findall(r"^acclimate ([a-z-]+)", (CHECKOUT / "README.md").read_text(), flags=re.MULTILINE)
    )

    assert [name for name, function in commands.items() if not function.__doc__] == []
    assert {"try", "promote", "serve", "up", "emit"} <= mentioned <= commands.keys()


def test_every_error_of_the_folklore_names_a_test_that_exists_or_the_reason_why_it_cannot_occur():
    rows = re.findall(
        r"^\| (\d+) \| .+? \| (.+) \|$", (CHECKOUT / "docs" / "folklore.md").read_text(), re.MULTILINE
    )
    named = [match for _, answer in rows for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", answer)]

    def tests_of(path: str) -> set[str]:
        tree = ast.parse((CHECKOUT / path).read_text())
        return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert len(named) > 30
    assert [f"{path}::{test}" for path, test in named if test not in tests_of(path)] == []
