import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.selection.pool import read_outputs, read_pool


def test_pool_and_outputs_are_read_back_as_recorded(record, confident, clustered, image_of):
    outputs = (confident([0, 1, 2, 0]), clustered([0, 1, 2, 0]))
    pool = record({"source_only-0": {"select": outputs}, "mcc-3": {"select": outputs}, "dann-0": None})

    assert pool.classes == ("cat", "dog", "owl")
    assert [(c.name, c.preset, c.seed, c.trained) for c in pool.candidates] == [
        ("source_only-0", "source_only", 0, True),
        ("mcc-3", "mcc", 3, True),
        ("dann-0", "dann", 0, False),
    ]
    read = read_outputs(pool, "select")
    assert list(read) == ["source_only-0", "mcc-3"]
    assert np.array_equal(read["mcc-3"].probabilities_NC, outputs[0])
    assert np.array_equal(read["mcc-3"].features_ND, outputs[1])
    assert read["mcc-3"].sha256_N == tuple(image_of("select", number) for number in range(4))
    assert read["mcc-3"].predictions().tolist() == [0, 1, 2, 0]


def test_a_split_without_images_has_no_outputs(record, confident, clustered):
    pool = record({"source_only-0": {"select": (confident([0]), clustered([0]))}})

    assert read_outputs(pool, "test") == {}


def test_candidates_that_speak_of_different_images_are_refused(record, confident, clustered):
    pool = record(
        {
            "source_only-0": {"select": (confident([0, 1]), clustered([0, 1]))},
            "mcc-0": {"select": (confident([0, 1, 2]), clustered([0, 1, 2]))},
        }
    )

    with pytest.raises(
        BadInput, match=r"mcc-0/outputs.safetensors cannot be judged: its select split holds other"
    ):
        read_outputs(pool, "select")


@pytest.mark.parametrize("missing", ["source_only-0", "mcc-0"])
def test_a_split_that_only_some_candidates_have_is_refused(record, confident, clustered, missing):
    outputs = (confident([0, 1]), clustered([0, 1]))
    splits = {name: {"select": outputs, "test": outputs} for name in ("source_only-0", "mcc-0")}
    del splits[missing]["test"]

    with pytest.raises(BadInput, match="its test split holds other examples than that of source_only-0"):
        read_outputs(record(splits), "test")


def test_outputs_of_another_class_list_are_refused(record, confident, clustered):
    pool = record({"source_only-0": {"select": (confident([0, 1], num_classes=5), clustered([0, 1]))}})

    with pytest.raises(
        BadInput, match=r"has probabilities \(2, 5\) and features \(2, 4\) for 2 examples and 3 classes"
    ):
        read_outputs(pool, "select")


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_damaged_file_is_named(record, confident, clustered, damage):
    pool = record({"source_only-0": {"select": (confident([0, 1]), clustered([0, 1]))}})
    path = pool.folder / "source_only-0" / "outputs.safetensors"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20])

    with pytest.raises(
        BadInput, match=r"source_only-0/outputs.safetensors cannot be judged: it cannot be read .*run"
    ):
        read_outputs(pool, "select")


def test_a_missing_pool_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"candidates.json does not exist. Run the stage that writes it"):
        read_pool(tmp_path)
