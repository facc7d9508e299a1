"""params.yaml: closed to unknown keys, every mistake named at once, overrides that must exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.settings import read_targets
from tasks.config.overrides import apply_overrides
from tasks.config.params import check_params, load_params
from tasks.config.sections.data import ByColumn, ByGap, ByPattern
from tasks.config.sections.presets import built_in_presets
from tasks.errors import ConfigError
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT

CONTENT = yaml.safe_load((CHECKOUT / "params.yaml").read_text())


def changed(*overrides: str) -> dict:
    return apply_overrides(CONTENT, overrides)


def message(content: object) -> str:
    with pytest.raises(ConfigError) as raised:
        check_params(content, origin="params.yaml")
    return str(raised.value)


def test_unknown_missing_and_wrong_keys_are_all_named_in_one_message():
    content = changed("adapt.steps=0", "gate.confidence=1.5")
    content["adpat"] = {}
    del content["probe"]["device"]

    said = message(content)

    assert said.startswith("params.yaml does not describe a run:")
    assert "adpat: unknown key" in said
    assert "probe.device: missing" in said
    assert "adapt.steps: input should be greater than or equal to 1 (got 0)" in said
    assert "gate.confidence" in said


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["gate.rules={}"], "a gate with no rules would let everything through"),
        (["adapt.candidates=[mcc]"], "candidates must include source_only"),
        (["adapt.candidates=[source_only, cdann]"], "candidates ['cdann'] are not among the presets"),
        (["adapt.presets.source_only=[{loss: mmd, weight: 1.0, num_kernels: 5}]"], "source_only must be empty"),
        (["adapt.seeds=[1, 1]"], "seeds names something twice"),
        (["split.target_adapt=0.9"], "is more than 1"),
        (["domains=[source, optdigits]"], "domains must be [source, then every target]"),
        (["domains=[source, Cam 7]", "targets=[Cam 7]"], "must be lower-case letters, digits and dashes"),
        (["features.route=cached"], "features.route cached freezes the backbone, but finetune.scope is full"),
        (["adapt.presets.mcc=[{loss: mccc, weight: 1.0}]"],
         "adapt.presets.mcc.losses.0.loss: no loss is called 'mccc'; tasks/losses has adda, bnm, cdan, centroid_labels,"),
        (["adapt.presets.mcc=[{loss: mcc, weight: -1.0}]"],
         "adapt.presets.mcc.losses.0.weight: input should be greater than or equal to 0 (got -1.0)"),
        (["adapt.presets.mcc={losses: [{loss: bnm, weight: 1.0}], views: [fourier]}", "adapt.candidates=[source_only, mcc]"],
         "adapt.presets.mcc asks for the views ['fourier'], which features.views [] lacks: add them there"),
        (["adapt.learning_rate=.inf"], "adapt.learning_rate"),
        (["adapt.presets.dann=[{loss: mmd, weight: 1.0, num_kernels: 5}, {loss: mmd, weight: 1.0, num_kernels: 5}]"],
         "adapt.presets.dann: names a loss twice"),
        (["gate.target_prior={cat: 0.5, dog: 0.4}"],
         "gate.target_prior: the shares of the classes must sum to 1, got 0.9 from {'cat': 0.5, 'dog': 0.4}"),
        (["gate.target_prior={}"], "gate.target_prior: the shares of the classes must sum to 1, got 0"),
        (["gate.target_prior={cat: 1.5, dog: -0.5}"], "gate.target_prior.cat: input should be less than or equal to 1"),
        (["gate.target_prior={0: 0.5, 1: 0.5}"], "put the names of these classes in quotes"),
        (["gate.max_prior_divergence=0"], "gate.max_prior_divergence: input should be greater than 0"),
        (["adapt.candidates=[source_only, subspace]"],
         "['subspace'] align frozen features, but features.route end_to_end keeps none"),
        (["adapt.deeper.candidates=[coral_linear]"], "['coral_linear'] align frozen features, which route deeper trains"),
        (["adapt.candidates=[source_only, subspace]", "adapt.start=finetuned"], "cannot start from the finetuned head"),
        (["adapt.start=finetuned", "adapt.deeper.candidates=auto", "features.route=deeper", "finetune.scope=head",
          "finetune.augment=none"],
         "set adapt.deeper.candidates to [], features.route to cached, or adapt.start to backbone"),
        (["adapt.presets.subspace.align.method=pca"], "adapt.presets.subspace.align"),
        (["adapt.presets.subspace={losses: [{loss: bnm, weight: 1.0}],"
          " source_free: true, align: {method: coral, ridge: 1.0}}"], "source_free, but align fits the source"),
        (["adapt.presets.source_only={losses: [], align: {method: coral, ridge: 1.0}}"], "source_only must be empty"),
        (["schedule.cron=61 3 * * 1"], "schedule.cron: '61 3 * * 1' is no time that comes round (bad minute)"),
        (["schedule.cron=0 3 * *"], "is no time that comes round (4 fields)"),
        (["schedule.cron=0 0 30 2 *"], "is no time that comes round"),
        (["schedule.cron='@fortnightly'"], "is no time that comes round"),
        (["schedule.timezone=Europe/Berlinn"], "no time zone is called 'Europe/Berlinn': did you mean Europe/Berlin?"),
        (["schedule.timezone=''"], "no time zone is called ''"),
        (["export.opset=99"], "export.opset: input should be less than or equal to 23 (got 99)"),
        (["images.grey_range=[7400, 7000]"], "images.grey_range: the first value becomes black and must be below the second"),
    ],
)  # fmt: skip
def test_a_run_that_makes_no_sense_is_refused_with_the_reason(overrides: list[str], expected: str):
    assert expected in message(changed(*overrides))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["adapt.presets.mine={voices: [[mcc], [ensemble]]}", "adapt.candidates=[source_only, mine]"],
         "adapt: presets.mine: ['ensemble'] are ensembles themselves, so they cannot be voices"),
        (["adapt.presets.mine={voices: [[mcc], [mcc]]}"],
         "adapt.presets.mine: names a voice twice, or a family without one: [['mcc'], ['mcc']]"),
        (["adapt.presets.mine={voices: [[mcc], []]}"],
         "adapt.presets.mine: names a voice twice, or a family without one: [['mcc'], []]"),
        (["adapt.presets.mine={closed_form: propagation, losses: [{loss: bnm, weight: 1.0}]}"],
         "adapt.presets.mine: is a closed form or an ensemble: it can have no losses, views, source_free or align,"
         " nor be both"),
        (["adapt.presets.mine={closed_form: propagation, voices: [[mcc]]}"],
         "adapt.presets.mine: is a closed form or an ensemble: it can have no losses, views, source_free or align,"
         " nor be both"),
        (["adapt.deeper.candidates=[mcc, propagation, ensemble]"],
         "adapt: deeper.candidates ['propagation', 'ensemble'] are not trained, so there is nothing to train deeper"),
        (["adapt.presets.target_statistics=[{loss: bnm, weight: 1.0}]"],
         "adapt: the preset target_statistics must be empty: every verdict compares with it"),
        (["adapt.presets.source_only={closed_form: propagation}"],
         "adapt: the preset source_only must be empty: every verdict compares with it"),
    ],
)  # fmt: skip
def test_closed_forms_ensembles_and_what_all_are_compared_with_are_refused_where_they_make_no_sense(
    overrides: list[str], expected: str
):
    own = [one for one in overrides if "presets.mine" in one]
    named = ["adapt.candidates=[source_only, mine]"] if own and len(overrides) == 1 else []

    assert message(changed(*overrides, *named)) == f"params.yaml does not describe a run:\n  {expected}"


FORMS = "must be null, folder, near_duplicates, {pattern: '<regular expression>'}, {gap_s: <seconds, more than 0>} or {column: <name>}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("folders", f"{FORMS}, got 'folders'"),
        ("{gap_s: 0}", f"{FORMS}, got {{'gap_s': 0}}"),
        ("{gap_s: .inf}", f"{FORMS}, got {{'gap_s': inf}}"),
        ("{gap_s: true}", f"{FORMS}, got {{'gap_s': True}}"),
        ("{gap: 5}", f"{FORMS}, got {{'gap': 5}}"),
        ("{column: ''}", f"{FORMS}, got {{'column': ''}}"),
        ("{pattern: ''}", f"{FORMS}, got {{'pattern': ''}}"),
        ("{pattern: a, gap_s: 5}", f"{FORMS}, got {{'pattern': 'a', 'gap_s': 5}}"),
        (
            "{pattern: '(a'}",
            "pattern '(a' is no regular expression (missing ), unterminated subpattern at position 0)."
            " Correct it; in YAML, put it in single quotes",
        ),
    ],
)
def test_a_way_to_group_that_is_none_is_refused_in_one_line(value: str, expected: str):
    said = message(changed(f"split.group_by={value}"))

    assert said == f"params.yaml does not describe a run:\n  split.group_by: {expected}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("null", None),
        ("folder", "folder"),
        ("near_duplicates", "near_duplicates"),
        ("{gap_s: 5}", ByGap(gap_s=5)),
        ("{column: person}", ByColumn(column="person")),
        (r"{pattern: '^(.*)_\d+\.jpg$'}", ByPattern(pattern=r"^(.*)_\d+\.jpg$")),
    ],
)
def test_every_way_to_group_is_read(value: str, expected: object):
    params = check_params(changed(f"split.group_by={value}"), origin="params.yaml")

    assert params.split.group_by == expected


def test_voices_and_choices_of_auto_whose_views_are_not_kept_are_left_out():
    auto, ensemble, named = (
        changed(f"adapt.candidates={names}")
        for names in ("auto", "[source_only, ensemble]", "[source_only, mcc_edge]")
    )
    content = {"features": CONTENT["features"] | {"views": ["edge"]}}
    without = (
        "source_only",
        "target_statistics",
        "propagation",
        "propagation_joint",
        "mcc_centroid",
        "ensemble",
    )
    kept = (*without[:-1], "mcc_centroid_edge", "ensemble")

    for pool in (auto, ensemble):
        assert check_params(pool, origin="params.yaml").candidates == without
        assert check_params(pool | content, origin="params.yaml").candidates == kept
    assert "adapt.presets.mcc_edge asks for the views ['edge']" in message(named)


@pytest.mark.parametrize("prior", ["null", "{cat: 0.33, dog: 0.33, owl: 0.33}", "{'0': 1.0, '1': 0}"])
def test_a_prior_may_be_absent_rounded_or_leave_a_class_out(prior: str):
    content = changed(f"gate.target_prior={prior}")

    assert check_params(content, origin="params.yaml").gate.target_prior == content["gate"]["target_prior"]


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path: Path):
    (tmp_path / "broken.yaml").write_text("adapt: [")

    for name in ("absent.yaml", "broken.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_params(tmp_path / name)


def test_overrides_change_what_they_name_and_nothing_else():
    content = changed("adapt.steps=7", "adapt.seeds=[4, 5]")

    assert content["adapt"]["steps"] == 7
    assert content["adapt"]["seeds"] == [4, 5]
    assert CONTENT["adapt"]["steps"] != 7
    assert content | {"adapt": 0} == CONTENT | {"adapt": 0}


@pytest.mark.parametrize("cron", ["@daily", "@hourly", "0 3 * * MON", "*/5 * * * *", "0 0 L * *"])
def test_a_schedule_that_is_accepted_is_one_that_prefect_accepts(cron: str):
    from prefect.client.schemas.schedules import CronSchedule

    schedule = check_params(changed(f"schedule.cron='{cron}'"), origin="params.yaml").schedule

    assert CronSchedule(cron=schedule.cron, timezone=schedule.timezone).cron == cron


def test_overrides_of_unknown_keys_are_all_named():
    with pytest.raises(ConfigError) as raised:
        changed("adapt.stepz=7", "nowhere.at.all=1", "adapt.steps", "adapt.seeds=[1,")

    assert "--set adapt.stepz: unknown key" in str(raised.value)
    assert "--set nowhere.at.all: unknown key" in str(raised.value)
    assert "--set adapt.steps: expected key=value" in str(raised.value)
    assert "--set adapt.seeds: '[1,' is not YAML" in str(raised.value)


def test_a_value_that_is_none_is_named_by_its_setting_and_a_long_one_shown_in_part():
    with pytest.raises(
        ConfigError, match=r"--set gate\.seed: '2024-13-01' is not YAML: a date or number in it is none"
    ):
        changed("gate.seed=2024-13-01")
    with pytest.raises(ConfigError) as raised:
        check_params(changed(f"gate.seed={[0] * 5000}"), origin="params.yaml")

    assert len(str(raised.value)) < 600


def test_a_preset_of_the_file_stands_beside_the_built_in_ones_or_instead_of_one():
    mine = [{"loss": "mcc", "weight": 0.5, "temperature": 1.0}]
    content = changed()
    content["adapt"]["presets"] = {"mcc": mine, "mine": mine}

    presets = check_params(content, origin="params.yaml").adapt.presets

    assert presets.keys() == {*built_in_presets(), "mine"}
    assert presets["mcc"] == presets["mine"]
    assert presets["mcc"].losses[0].options == {"weight": 0.5, "temperature": 1.0}


def test_a_file_that_lists_every_preset_means_what_an_empty_mapping_means():
    listed, commented_out = changed(), changed()
    listed["adapt"]["presets"] = built_in_presets()
    commented_out["adapt"]["presets"] = None

    expected = check_params(CONTENT, origin="params.yaml")

    assert check_params(listed, origin="params.yaml") == expected
    assert check_params(commented_out, origin="params.yaml") == expected


def test_a_part_of_a_built_in_preset_can_be_set():
    presets = changed("adapt.presets.subspace.align.dimensions=12")["adapt"]["presets"]

    assert presets == {"subspace": {"losses": [], "align": {"method": "subspace", "dimensions": 12}}}


def test_a_new_preset_can_be_set_where_candidates_name_it():
    preset = "adapt.presets.mine=[{loss: bnm, weight: 1.0}]"

    assert "mine" in changed(preset, "adapt.candidates=[source_only, mine]")["adapt"]["presets"]
    assert "mine" in changed(preset, "adapt.deeper.candidates=[mine]")["adapt"]["presets"]
    with pytest.raises(
        ConfigError, match=r"--set adapt.presets.mine: unknown key; .* neither candidates nor voices name it"
    ):
        changed(preset)
    with pytest.raises(ConfigError, match=r"--set adapt.presets.mine.losses: unknown key"):
        changed("adapt.presets.mine.losses=[]", "adapt.candidates=[source_only, mine]")


def test_reading_parameters_does_not_load_torch():
    code = "import sys; from tasks.config.params import load_params; from pathlib import Path;"
    code += " load_params(Path('params.yaml')); print('torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", ["params.yaml", "tasks/config/templates/params.yaml"])
def test_a_params_file_repeats_no_built_in_preset(path: str):
    own = yaml.safe_load((CHECKOUT / path).read_text())["adapt"]["presets"]

    assert [name for name, preset in own.items() if preset == built_in_presets().get(name)] == []


GROWING = "k0: &k0 [1]\n" + "".join(
    f"k{number}: &k{number} [*k{number - 1}, *k{number - 1}]\n" for number in range(1, 40)
)
"""A list of two lists of two lists, and so on: a thousand billion values in a kilobyte."""


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, r"does not exist: .* is no workspace"),
        (make_folder, r"cannot be read \(Is a directory\). It must be a file that this user may read"),
        (lambda path: path.write_bytes("kind: image\n# café\n".encode("latin-1")),
         "is not UTF-8: line 2 has the byte 0xe9. Save the file as UTF-8"),
        (lambda path: path.write_text("kind: [image"), "is not YAML: .* line 1, column 7"),
        (lambda path: path.write_text("a: " + "[" * 5000 + "]" * 5000), "is not YAML: it is nested too deeply"),
        (lambda path: path.write_text("a: &a [*a]"), "is not YAML: it is nested too deeply, or an alias refers to itself"),
        (lambda path: path.write_text("domains: [2024-13-01]"),
         "is not YAML: a date or number in it is none .month must be in 1..12"),
        (lambda path: path.write_text("a: " + "1" * 5000), "is not YAML: a date or number in it is none"),
        (lambda path: path.write_text(GROWING), "is not YAML: its aliases make more than 10,000,000 values of it"),
    ],
)  # fmt: skip
def test_a_params_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, make, expected: str):
    path = tmp_path / "params.yaml"
    make(path)

    for read in (load_params, lambda path: read_targets(Workspace(path.parent))):
        with pytest.raises(ConfigError, match=f"(?s){re.escape(str(path))} {expected}"):
            read(path)


def test_a_params_file_may_begin_with_a_byte_order_mark(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (CHECKOUT / "params.yaml").read_bytes())

    assert load_params(path) == load_params(CHECKOUT / "params.yaml")


def test_a_voice_that_is_no_preset_is_named_where_only_route_deeper_asks_for_its_ensemble():
    content = changed("adapt.presets.mine={voices: [[nope]]}", "adapt.deeper.candidates=[mine]")

    assert "adapt: presets.mine: voices ['nope'] are not among the presets ['adda', " in message(content)


def test_a_new_preset_can_be_set_where_the_voices_of_another_name_it():
    content = changed(
        "adapt.presets.mine=[{loss: bnm, weight: 1.0}]",
        "adapt.presets.choir={voices: [[mine]]}",
        "adapt.candidates=[source_only, choir]",
    )

    assert check_params(content, origin="params.yaml").candidates == (
        "source_only",
        "target_statistics",
        "mine",
        "choir",
    )
