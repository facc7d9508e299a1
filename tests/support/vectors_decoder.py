"""The processes that decode, which know the toy kind."""

from tasks.domains import kinds
from tasks.domains.decoding import child
from tests.support import vectors

if __name__ == "__main__":
    kinds.kind_named = vectors.kind_named
    child.main()
