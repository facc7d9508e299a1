"""Many files measured in other processes, each within a deadline."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.domains.contract import Reader
from tasks.domains.cores import usable_cores
from tasks.domains.decoding.pool import MAX_FILES, Decoders, MeasuredFile

DECODE_CPU_S = 10.0
"""A file that takes longer to decode is left out. The slowest formats need a tenth of it for each 10 megapixels."""


def measure_files(paths: Sequence[Path], reader: Reader) -> list[MeasuredFile]:
    """The findings about each file, which is read once, in another process.

    Raises:
        Fault: The processes that decode cannot be started.
    """
    if not paths:
        return []
    num = usable_cores()
    batches = [paths[start : start + MAX_FILES] for start in range(0, len(paths), MAX_FILES)]
    with Decoders(num, reader, measuring=True) as decoders, ThreadPoolExecutor(num) as pool:
        measured = pool.map(lambda batch: decoders.measure(reader, batch, cpu_s=DECODE_CPU_S), batches)
        return [file for batch in measured for file in batch]
