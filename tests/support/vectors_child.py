"""The examination of an exported file in a process that knows the toy kind."""

from tasks.domains import kinds
from tasks.exported import examination
from tests.support import vectors

if __name__ == "__main__":
    kinds.kind_named = vectors.kind_named
    examination.main()
