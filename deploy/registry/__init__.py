"""Model versions of a target: immutable folders, aliases, an append-only history.

    registry/<target>/versions/<n>/model.onnx     the bytes; DVC has them, git sees model.onnx.dvc
    registry/<target>/versions/<n>/version.json   what they are, and which verdicts refer to them
    registry/<target>/history.jsonl               every action on the target
    registry/<target>/champion.json               the pointer that servers and the gate read

The history decides, and champion.json follows from replaying it. An action writes its history
entry first. After a kill before the pointer is written, the old champion stays in service, and the next
action on the target (the rerun, for example) moves the pointer before it does anything else. A history that lost
lines is refused and never obeyed: it could only take a model out of service.

Promotions form a stack and a rollback takes the top off, so rolling back twice goes back two
promotions and never forth to the version that was just taken out. That one is *withdrawn*: neither a policy nor a
rollback puts it back, only a person who names it. On a *frozen* target no policy promotes. The challenger is not stored:
it is the newest version that never was champion. Publishing therefore leaves champion.json
alone, and with it the gate that depends on it.

Servers import this package for reading; it needs pydantic and `tasks`, and loads no model.
"""

from deploy.registry.champion import Champion, champion_bytes, read_champion
from deploy.registry.history import Entry, as_json, read_history
from deploy.registry.layout import MODEL, has_registry, model_path, registered_targets, require_target
from deploy.registry.promote import promote, rollback
from deploy.registry.publish import create_registry, publish
from deploy.registry.status import TargetStatus, VersionStatus, newest_unproven, status
from deploy.registry.versions import Version, read_version
from deploy.registry.withdraw import freeze, lift, unfreeze, withdraw

__all__ = [
    "MODEL",
    "Champion",
    "Entry",
    "TargetStatus",
    "Version",
    "VersionStatus",
    "as_json",
    "champion_bytes",
    "create_registry",
    "freeze",
    "has_registry",
    "lift",
    "model_path",
    "newest_unproven",
    "promote",
    "publish",
    "read_champion",
    "read_history",
    "read_version",
    "registered_targets",
    "require_target",
    "rollback",
    "status",
    "unfreeze",
    "withdraw",
]
