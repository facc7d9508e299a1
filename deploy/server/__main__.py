"""``python -m deploy.server --workspace DIR``: serve the champions of a workspace."""

import argparse
import logging
import os
import sys
from pathlib import Path

from deploy.server.app import serve
from tasks.errors import AcclimateError
from tasks.exported.session import DEVICES


def main() -> int:
    """Serve, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.server", description="Serve the champions of a workspace over HTTP."
    )
    parser.add_argument(
        "--workspace", type=Path, default=Path(), help="folder with params.yaml and registry/"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default=os.environ.get("ACCLIMATE_DEVICE", "auto"),
        help="cuda and tensorrt are strict: landing elsewhere is an error",
    )
    arguments = parser.parse_args()
    if arguments.device not in DEVICES:  # argparse does not check a default
        parser.error(f"ACCLIMATE_DEVICE is {arguments.device!r}; choose from {', '.join(DEVICES)}")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(arguments.workspace, arguments.host, arguments.port, arguments.device)
    except AcclimateError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
