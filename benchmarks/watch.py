"""Tables of one person each, from the smartwatch recordings of the demo.

    pip download --no-deps seglearn==1.2.5
    python -m benchmarks.watch seglearn-1.2.5-py3-none-any.whl FOLDER

Then, for a pair of people:

    make bench-accuracy DATA=none BENCH='--pair FOLDER/person01.csv FOLDER/person02.csv --only person01'
"""

import sys
from pathlib import Path

from tasks.domains.table.exercises import rows_by_person, write_rows


def main() -> None:
    """Write the tables."""
    archive, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for person, rows in rows_by_person(archive).items():
        write_rows(folder / f"person{person:02}.csv", rows)


if __name__ == "__main__":
    main()
