"""Model versions of a target: immutable folders, aliases, an append-only history.

    registry/<target>/versions/<n>/model.onnx     the bytes; DVC has them, git sees model.onnx.dvc
    registry/<target>/versions/<n>/version.json   what they are, and which verdicts refer to them
    registry/<target>/history.jsonl               every publish, judge, promote and rollback
    registry/<target>/champion.json               the pointer that servers and the gate read

The history decides, and champion.json follows from replaying it. An action writes its history
entry first. After a kill before the pointer is written, the old champion stays in service, and the next
action on the target (the rerun, for example) moves the pointer before it does anything else.

Promotions form a stack and a rollback takes the top off, so rolling back twice goes back two
promotions and never forth to the version that was just taken out. The challenger is not stored:
it is the newest version that never was champion. Publishing therefore leaves champion.json
alone, and with it the gate that depends on it.

Servers import this package for reading; it needs pydantic and `tasks`, and loads no model.
"""

from deploy.registry.champion import Champion, champion_bytes, read_champion
from deploy.registry.layout import MODEL, model_path, registered_targets
from deploy.registry.promote import promote, rollback
from deploy.registry.publish import create_registry, publish
from deploy.registry.status import TargetStatus, VersionStatus, status
from deploy.registry.versions import Version, read_version

__all__ = [
    "MODEL",
    "Champion",
    "TargetStatus",
    "Version",
    "VersionStatus",
    "champion_bytes",
    "create_registry",
    "model_path",
    "promote",
    "publish",
    "read_champion",
    "read_version",
    "registered_targets",
    "rollback",
    "status",
]
