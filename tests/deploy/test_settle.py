"""Histories and pointers that do not fit together: what is made good, and what is refused and changes nothing."""

import json

import pytest

from deploy import registry
from tasks.errors import BadInput, Refused
from tests.support.killed import killed_at

ROLLBACK = "registry.rollback(workspace, 'cam7', by='ana', reason='x')"


def champion(workspace) -> int | None:
    return json.loads(workspace.champion("cam7").read_text())["champion"]


def promote(workspace, version, **options):
    registry.promote(workspace, "cam7", version, **({"by": "bo", "reason": "a test"} | options))


def rollback(workspace) -> int:
    return registry.rollback(workspace, "cam7", by="ana", reason="x")


def path_of(workspace):
    return workspace.registry("cam7") / "history.jsonl"


def lines(workspace) -> list[str]:
    return path_of(workspace).read_text().splitlines(keepends=True)


ACTIONS = {
    "promote": lambda workspace: promote(workspace, 2),
    "rollback": rollback,
    "withdraw": lambda workspace: registry.withdraw(workspace, "cam7", 1, by="ana", reason="x"),
    "freeze": lambda workspace: registry.freeze(workspace, "cam7", by="ana", reason="x"),
    "run": lambda workspace: registry.create_registry(workspace, "cam7"),
    "publish": lambda workspace: registry.publish(workspace, "cam7", by="ana", reason="x"),
}


def lose_all(workspace):
    path_of(workspace).unlink()


def empty(workspace):
    path_of(workspace).write_text("")


def lose(*numbers: int):
    def act(workspace):
        kept = [line for number, line in enumerate(lines(workspace), start=1) if number not in numbers]
        path_of(workspace).write_text("".join(kept))

    return act


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lose_all, id="missing"),
        pytest.param(empty, id="empty"),
        pytest.param(lose(6), id="without-its-last-line"),
        pytest.param(lose(5, 6), id="without-its-last-two-lines"),
        pytest.param(lose(4), id="without-its-first-promotion"),
        pytest.param(lose(5), id="without-one-in-the-middle"),
        pytest.param(lose(4, 5, 6), id="without-any-promotion"),
    ],
)
def test_a_history_that_lost_lines_changes_no_pointer_and_the_message_says_how_to_restore_it(
    three, damage, action
):
    assert len(lines(three)) == 6
    pointer = three.champion("cam7").read_bytes()
    damage(three)
    left = path_of(three).read_bytes() if path_of(three).exists() else None

    with pytest.raises(BadInput, match=r"`git checkout -- registry/cam7/history\.jsonl`"):
        action(three)

    assert three.champion("cam7").read_bytes() == pointer
    assert (path_of(three).read_bytes() if path_of(three).exists() else None) == left


@pytest.mark.parametrize("damage", [lose(7), lose(6, 7), lose(5)], ids=["last", "last-two", "middle"])
def test_a_history_that_lost_a_rollback_does_not_put_the_version_back_that_it_took_out(three, damage):
    """Without the line of the rollback, the promotion before it could look like one whose pointer is still to be written."""
    rollback(three)
    pointer = three.champion("cam7").read_bytes()
    assert champion(three) == 2
    damage(three)

    with pytest.raises(BadInput, match=r"Nothing was changed|some were lost"):
        registry.create_registry(three, "cam7")

    assert three.champion("cam7").read_bytes() == pointer


def test_the_history_restored_from_git_is_accepted_again(three, run):
    run(three.root, "git", "add", "registry")
    run(three.root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "x")
    empty(three)
    with pytest.raises(BadInput) as caught:
        rollback(three)
    command = str(caught.value).split("Restore it from git: `")[1].split("`")[0]

    run(three.root, *command.split())

    assert rollback(three) == 2


@pytest.mark.parametrize("pointer", [None, "", "{", "[]", '{"champion": "two"}'])
def test_a_pointer_that_is_missing_or_torn_is_made_anew_from_the_history(three, pointer):
    before = three.champion("cam7").read_bytes()
    three.champion("cam7").unlink()
    if pointer is not None:
        three.champion("cam7").write_text(pointer)
    problem = registry.status(three)["cam7"].problem

    assert problem is not None
    assert "registry/cam7/champion.json" in problem or "is not JSON" in problem
    assert registry.withdraw(three, "cam7", 3, by="ana", reason="x") == 2
    assert before != three.champion("cam7").read_bytes()
    assert champion(three) == 2


@pytest.mark.parametrize("pointer", [None, "{"])
def test_where_history_and_pointer_are_both_lost_no_empty_ones_take_their_place(three, pointer):
    three.champion("cam7").unlink()
    if pointer is not None:
        three.champion("cam7").write_text(pointer)
    lose_all(three)

    with pytest.raises(BadInput, match="is missing or empty, although there are versions"):
        registry.create_registry(three, "cam7")

    assert not path_of(three).exists()


def test_a_pointer_that_somebody_edited_is_refused(three):
    pointer = json.loads(three.champion("cam7").read_text())
    three.champion("cam7").write_text(json.dumps(pointer | {"champion": 2}))

    with pytest.raises(BadInput, match=r"champion\.json names version 2, and version 3 follows from it"):
        rollback(three)
    three.champion("cam7").unlink()  # as the message advises

    assert rollback(three) == 2


def test_a_damaged_registry_stops_no_other_target_and_status_says_what_is_wrong(three, publish):
    publish(three, target="cam8")
    path_of(three).write_text("".join(lines(three)) + '{"action": "promo')

    found = registry.status(three)
    registry.promote(three, "cam8", 1, by="bo", reason="x")

    assert found["cam7"].champion == 3
    assert "registry/cam7/history.jsonl, line 7 is no history entry" in (found["cam7"].problem or "")
    assert (found["cam8"].challenger, found["cam8"].problem) == (1, None)
    assert registry.read_champion(three, "cam8") is not None
    assert registry.read_champion(three, "cam7") is not None


# A rollback that was killed and is repeated by hand


def nothing(workspace):
    pass


def settled_by_a_run(workspace):
    registry.create_registry(workspace, "cam7")


def settled_by_a_refused_promotion(workspace):
    with pytest.raises(Refused):
        promote(workspace, 3)


def settled_by_a_freeze(workspace):
    registry.freeze(workspace, "cam7", by="bo", reason="x")


def settled_by_a_withdrawal_of_another_version(workspace):
    registry.publish(workspace, "cam7", by="bo", reason="x")
    registry.withdraw(workspace, "cam7", 4, by="bo", reason="x")


MEANWHILE = (
    nothing,
    settled_by_a_run,
    settled_by_a_refused_promotion,
    settled_by_a_freeze,
    settled_by_a_withdrawal_of_another_version,
)


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("step", ["rollback-cam7.json", "history.jsonl", "champion.json"])
def test_a_rollback_that_was_killed_at_any_step_and_is_repeated_by_hand_goes_back_one_version(
    three, step, meanwhile, write_outcome
):
    write_outcome(three, sharpness=4.0)
    killed_at(step, three, ROLLBACK)
    assert champion(three) == 3
    if step == "champion.json" or meanwhile is not settled_by_a_refused_promotion:
        meanwhile(three)

    assert rollback(three) == 2

    assert champion(three) == 2
    assert sum('"rollback"' in line for line in lines(three)) == 1
    assert rollback(three) == 1
    assert not (three.private / "rollback-cam7.json").exists()


def test_a_promotion_after_a_killed_rollback_ends_it_so_that_the_next_rollback_is_a_new_one(three, publish):
    publish(three, sharpness=4.0)
    killed_at("champion.json", three, ROLLBACK)
    promote(three, 4, force=True)

    assert rollback(three) == 2
    assert rollback(three) == 1


def test_a_rollback_that_was_killed_after_its_pointer_is_told_as_finished_once(three):
    registry.rollback(three, "cam7", by="ana", reason="x", at="2026-01-01T00:00:00+00:00")
    note = lines(three)[-1]
    (three.private / "rollback-cam7.json").write_text(note)  # as a kill before the last step leaves it

    assert rollback(three) == 2
    assert rollback(three) == 1
