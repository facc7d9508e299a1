"""Versions that people keep out of service, frozen targets, and the champion that a verdict compared with."""

import json
import subprocess
import sys

import pytest

from deploy import registry
from tasks.errors import BadInput, Refused
from tests.deploy.conftest import against, checkpoint_of
from tests.support.killed import killed_at

WHO = {"by": "ana", "reason": "it names dogs cats"}


def champion(workspace) -> int | None:
    found = registry.read_champion(workspace, "cam7")
    return found and found.version


def promote(workspace, version, **options):
    return registry.promote(workspace, "cam7", version, **({"by": "bo", "reason": "a test"} | options))


def rollback(workspace, **options) -> int:
    return registry.rollback(workspace, "cam7", **({"by": "ana", "reason": "it names dogs cats"} | options))


def withdraw(workspace, version, **options) -> int | None:
    return registry.withdraw(workspace, "cam7", version, **(WHO | options))


def actions(workspace) -> list[tuple[str, int | None]]:
    return [(entry.action, entry.version) for entry in registry.read_history(workspace, "cam7")]


@pytest.fixture
def serving(published):
    """With version 2 in service after version 1."""
    promote(published, 1)
    promote(published, 2)
    return published


# Withdrawn


def test_the_version_that_a_rollback_takes_out_is_withdrawn_and_no_policy_puts_it_back(serving):
    assert rollback(serving) == 1

    assert registry.status(serving)["cam7"].withdrawn == (2,)
    for options in ({"automatic": True}, {"automatic": True, "allow_provisional": True}, {}):
        with pytest.raises(Refused) as caught:
            promote(serving, 2, **options)
        said = str(caught.value)
        assert "version 2 was rolled back to version 1 on " in said
        assert "by ana (it names dogs cats)" in said
        assert "`acclimate promote cam7 --version 2` lifts that" in said
    with pytest.raises(Refused, match="was rolled back"):
        promote(serving, 2, force=True)
    assert champion(serving) == 1


def test_a_person_who_names_a_withdrawn_version_lifts_that_and_the_history_notes_it(serving):
    rollback(serving)

    assert promote(serving, 2, lift=True) == (2,)

    assert champion(serving) == 2
    assert registry.status(serving)["cam7"].withdrawn == ()
    assert registry.read_history(serving, "cam7")[-1].lifted == (2,)


def test_other_bytes_of_a_withdrawn_model_are_withdrawn_too(serving, publish):
    rollback(serving)
    model = {"checkpoint_sha256": checkpoint_of("mcc-0", 2.0)}
    version = publish(
        serving, sharpness=3.0, model=model, gate=model, export=model
    )  # another file, the same checkpoint

    assert version == 3
    assert registry.status(serving)["cam7"].withdrawn == (2, 3)
    assert registry.status(serving)["cam7"].challenger is None
    with pytest.raises(Refused, match="version 3 has the model of version 2, which was rolled back"):
        promote(serving, 3, automatic=True)

    assert promote(serving, 3, lift=True) == (2,)
    assert champion(serving) == 3


def test_withdrawing_the_champion_brings_the_one_before_back(serving):
    assert withdraw(serving, 2) == 1

    assert champion(serving) == 1
    entry = registry.read_history(serving, "cam7")[-1]
    assert (entry.action, entry.version, entry.by, entry.reason) == ("withdraw", 2, *WHO.values())
    assert withdraw(serving, 2) == 1
    assert actions(serving)[-2:] == [("promote", 2), ("withdraw", 2)]


def test_a_rollback_steps_over_a_withdrawn_version(serving, publish):
    publish(serving, sharpness=3.0)
    promote(serving, 3, force=True)
    pointer = json.loads(serving.champion("cam7").read_text())
    assert [one["version"] for one in pointer["former"]] == [2, 1]

    assert withdraw(serving, 2) == 3

    assert registry.status(serving)["cam7"].previous == 1
    assert [one["version"] for one in json.loads(serving.champion("cam7").read_text())["former"]] == [1]
    assert rollback(serving) == 1
    assert registry.status(serving)["cam7"].withdrawn == (2, 3)


def test_a_rollback_to_a_version_takes_out_what_is_in_service_alone(serving, publish):
    publish(serving, sharpness=3.0)
    promote(serving, 3, force=True)

    assert rollback(serving, to=1) == 1
    assert rollback(serving, to=1) == 1

    assert registry.status(serving)["cam7"].withdrawn == (3,)
    assert actions(serving)[-2:] == [("promote", 3), ("rollback", 1)]


def test_a_rollback_goes_to_no_version_that_is_withdrawn_or_never_was_in_service(serving, publish):
    publish(serving, sharpness=3.0)
    withdraw(serving, 1)

    with pytest.raises(
        Refused, match=r"version 1 was withdrawn on .* by ana .*`acclimate promote cam7 --ver"
    ):
        rollback(serving, to=1)
    with pytest.raises(Refused, match=r"version 1 was withdrawn on .* by ana"):
        rollback(serving)
    with pytest.raises(Refused, match=r"version 3 of cam7 is not among the champions .*: none"):
        rollback(serving, to=3)
    assert champion(serving) == 2


def test_the_only_champion_is_withdrawn_by_force_alone_and_then_nothing_is_in_service(published):
    promote(published, 1)

    with pytest.raises(Refused, match=r"no earlier champion may take its place\..*--force"):
        withdraw(published, 1)
    assert champion(published) == 1

    assert withdraw(published, 1, force=True) is None
    assert champion(published) is None
    with pytest.raises(Refused, match="nothing is in service now"):
        rollback(published)
    promote(published, 2)
    assert champion(published) == 2


def test_what_is_lifted_may_serve_again_and_does_not_come_back_by_itself(serving):
    withdraw(serving, 2)

    assert registry.lift(serving, "cam7", 2, by="bo", reason="the labels were wrong")
    assert not registry.lift(serving, "cam7", 2, by="bo", reason="again")

    assert champion(serving) == 1
    with pytest.raises(Refused, match="version 2 of cam7 was in service before and was replaced"):
        promote(serving, 2, automatic=True)
    promote(serving, 2)
    assert champion(serving) == 2


def test_no_policy_brings_back_a_version_that_a_person_replaced_by_hand(serving):
    promote(serving, 1, force=True)
    again = registry.read_version(serving, "cam7", 2)

    with pytest.raises(Refused, match=r"was in service before and was replaced\. It does not come back"):
        promote(serving, 2, automatic=True)
    assert registry.status(serving)["cam7"].challenger is None
    assert (champion(serving), again.version) == (1, 2)


@pytest.mark.parametrize("act", [registry.freeze, lambda *a, **k: registry.withdraw(*a, 1, **k)])
@pytest.mark.parametrize("missing", ["by", "reason"])
def test_a_withdrawal_and_a_freeze_need_a_name_and_a_reason(serving, act, missing):
    with pytest.raises(BadInput, match=r"needs --by \(who decides\) and --reason \(why\)"):
        act(serving, "cam7", **(WHO | {missing: " "}))


def test_the_rollbacks_of_an_older_acclimate_count_as_withdrawals(serving):
    path = serving.registry("cam7") / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for key in ("model_sha256", "checkpoint_sha256"):
            line.pop(key, None)
    back = {"at": "2026-01-01", "action": "rollback", "version": 1, "by": "eve", "reason": "bad", "from": 2}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, back]))
    pointer = json.loads(serving.champion("cam7").read_text())
    record = registry.read_version(serving, "cam7", 1)
    old = {
        "schema_version": 1, "champion": 1, "previous": None, "model_sha256": record.model_sha256,
        "checkpoint_sha256": record.checkpoint_sha256, "path": pointer["path"].replace("/2/", "/1/"),
    }  # fmt: skip
    serving.champion("cam7").write_text(json.dumps(old))

    registry.create_registry(serving, "cam7")

    assert json.loads(serving.champion("cam7").read_text()) == old | {"former": [], "moves": 3}
    with pytest.raises(Refused, match=r"version 2 was rolled back to version 1 on 2026-01-01 by eve \(bad\)"):
        promote(serving, 2, automatic=True)


# Frozen


def test_a_frozen_target_keeps_its_champion_whatever_the_policy_says_until_the_freeze_is_lifted(published):
    promote(published, 1)
    registry.freeze(published, "cam7", **WHO)

    for options in ({"automatic": True}, {}):
        with pytest.raises(Refused, match=r"frozen on .* by ana \(it names .*`acclimate freeze cam7 --lift`"):
            promote(published, 2, **options)
    frozen = registry.status(published)["cam7"].frozen
    assert frozen is not None
    assert (frozen.by, frozen.reason) == tuple(WHO.values())
    registry.unfreeze(published, "cam7", by="bo", reason="Monday")

    promote(published, 2, automatic=True)
    assert champion(published) == 2
    assert [action for action, _ in actions(published)][2:] == ["promote", "freeze", "unfreeze", "promote"]


def test_a_person_may_force_a_promotion_on_a_frozen_target_and_roll_back_and_withdraw_there(published):
    promote(published, 1)
    registry.freeze(published, "cam7", **WHO)

    promote(published, 2, force=True)
    assert champion(published) == 2
    assert registry.read_history(published, "cam7")[-1].forced is True
    assert rollback(published) == 1
    promote(published, 2, force=True, lift=True)
    assert withdraw(published, 2) == 1
    assert registry.status(published)["cam7"].frozen is not None


# The champion that a verdict compared with


def test_a_verdict_that_compared_with_another_champion_promotes_nothing(serving, publish):
    publish(serving, sharpness=3.0)  # compared with version 1, like all of these

    for options in ({"automatic": True}, {}):
        with pytest.raises(Refused) as caught:
            promote(serving, 3, **options)
        assert "version 3 of cam7 compared with version 1, but version 2 is in service" in str(caught.value)
        assert "Run `acclimate run`" in str(caught.value)
    assert champion(serving) == 2

    publish(serving, sharpness=3.0, gate={"champion": against(2, checkpoint_of("mcc-0", 2.0))})
    promote(serving, 3, automatic=True)
    assert champion(serving) == 3


def test_a_verdict_that_compared_with_no_champion_promotes_nothing_while_one_is_in_service(
    published, publish
):
    publish(published, sharpness=3.0, gate={"champion": None})
    promote(published, 1)

    with pytest.raises(Refused, match="compared with no champion, but version 1 is in service"):
        promote(published, 3)


def test_a_verdict_of_an_older_acclimate_that_names_no_champion_is_refused_only_where_there_is_one(published):
    path = published.registry("cam7") / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["verdicts"]["gate"]["champion"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    promote(published, 1)
    with pytest.raises(Refused, match=r"does not say which champion it compared with .*version 1 is in serv"):
        promote(published, 2)
    promote(published, 2, force=True)

    assert champion(published) == 2


def test_a_version_that_was_judged_against_the_same_model_in_another_file_may_follow_it(published, publish):
    """The champion is known by its checkpoint, not by its number."""
    publish(published, sharpness=3.0, gate={"champion": against(9, checkpoint_of("mcc-0", 1.0))})
    promote(published, 1)

    promote(published, 3)

    assert champion(published) == 3


# Kills


@pytest.mark.parametrize("step", ["history.jsonl", "champion.json"])
def test_a_withdrawal_that_was_killed_is_finished_by_a_rerun_and_not_done_twice(serving, publish, step):
    publish(serving, sharpness=3.0)
    promote(serving, 3, force=True)

    killed_at(step, serving, "registry.withdraw(workspace, 'cam7', 3, by='ana', reason='x')")
    assert champion(serving) == 3
    assert withdraw(serving, 3) == 2

    assert champion(serving) == 2
    assert [action for action, _ in actions(serving)].count("withdraw") == 1


def test_promoting_a_withdrawn_version_can_be_killed_between_history_and_pointer(serving, publish):
    publish(serving, sharpness=3.0)
    promote(serving, 3, force=True)
    withdraw(serving, 2)

    killed_at(
        "champion.json",
        serving,
        "registry.promote(workspace, 'cam7', 2, by='ana', reason='x', lift=True, force=True)",
    )
    assert champion(serving) == 3
    registry.create_registry(serving, "cam7")

    assert champion(serving) == 2
    assert registry.status(serving)["cam7"].withdrawn == ()


# Locks


def test_a_rollback_does_not_wait_for_a_publication(serving, write_outcome):
    """DVC takes seconds over a new version; the lock that it is made under is not that of the champion."""
    from deploy.registry.layout import locked_for_publishing

    with locked_for_publishing(serving, "cam7"):
        done = subprocess.run(
            [
                "timeout",
                "20",
                *python(serving, "print(registry.rollback(workspace, 'cam7', by='a', reason='b'))"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )

    assert done.stdout == "1\n"


def python(workspace, code: str) -> list[str]:
    setup = "import pathlib\nfrom deploy import registry\nfrom tasks.workspace import Workspace\n"
    return [
        sys.executable,
        "-c",
        f"{setup}workspace = Workspace(pathlib.Path({str(workspace.root)!r}))\n{code}",
    ]
