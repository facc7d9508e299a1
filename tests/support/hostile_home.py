"""A home whose settings of git, DVC and Prefect would each break a run, if they were followed.

HOME=$(python -m tests.support.hostile_home FOLDER) make test
"""

import sys
from pathlib import Path

GITCONFIG = """\
[user]
	name = Ana
	email = ana@example.org
[core]
	autocrlf = true
	excludesFile = {home}/ignored
	hooksPath = {home}/hooks
	attributesFile = {home}/attributes
[commit]
	gpgSign = true
[gpg]
	program = /bin/false
[init]
	defaultBranch = trunk
	templateDir = {home}/template
"""
IGNORED = "*.lock\ndata/\n.*\n*.json\n*.yaml\nregistry/\n"
DVC = "[cache]\n    type = symlink\n    dir = {home}/dvc-cache\n[core]\n    autostage = true\n    remote = nowhere\n"
PREFECT = 'active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
HOOK = "#!/bin/sh\necho 'no commit without a ticket' >&2\nexit 1\n"
HOOKS = ("pre-commit", "commit-msg", "post-commit")


def make_home(home: Path) -> Path:
    """``home`` with all of these settings."""
    for folder in ("hooks", "template/hooks", ".config/git", ".config/dvc", ".prefect"):
        (home / folder).mkdir(parents=True)
    (home / ".gitconfig").write_text(GITCONFIG.format(home=home))
    (home / "attributes").write_text("* text eol=crlf\n")
    for place in ("ignored", ".config/git/ignore"):
        (home / place).write_text(IGNORED)
    (home / ".config" / "dvc" / "config").write_text(DVC.format(home=home))
    (home / ".prefect" / "profiles.toml").write_text(PREFECT)
    for folder in ("hooks", "template/hooks"):
        for name in HOOKS:
            (home / folder / name).write_text(HOOK)
            (home / folder / name).chmod(0o755)
    return home


if __name__ == "__main__":
    print(make_home(Path(sys.argv[1]).resolve()))
