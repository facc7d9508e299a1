"""docs/files.md has a row for every file of a workspace, and no row twice."""

from tasks.workspace import Workspace
from tests.support.documents import expression, file_patterns
from tests.support.tiny import Finished


def files_without_a_row(workspace: Workspace) -> list[str]:
    rows = [expression(pattern) for pattern in file_patterns()]
    files = [
        path.relative_to(workspace.root).as_posix() for path in workspace.root.rglob("*") if path.is_file()
    ]
    assert len(files) > 100
    return [file for file in files if not any(row.fullmatch(file) for row in rows)]


def test_every_file_of_a_finished_workspace_has_a_row(finished: Finished):
    assert files_without_a_row(finished.workspace) == []


def test_a_file_that_no_row_names_is_found(workspace_copy: Workspace):
    (workspace_copy.root / "results" / "gate" / "new-camera" / "scores.json").write_text("{}")

    assert files_without_a_row(workspace_copy) == ["results/gate/new-camera/scores.json"]


def test_no_file_is_explained_twice():
    patterns = file_patterns()

    assert sorted(set(patterns)) == sorted(patterns)
