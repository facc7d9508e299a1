"""Uploads decoded in other processes: what is quickly done first, what may be an attack when there is nothing better to do.

Every example begins in the quick lane, which has a twentieth of a second for it and turns large ones away by their
header. They go on to the patient lane, whose processes yield the processor to all others. In both lanes the upload of the
fewest bytes comes first. So any number of uploads that are slow to decode delays a small one by the twentieths of a
second that those before it have at most.
"""

import numpy as np

from deploy.server.busy import Queue
from tasks.config.sections.delivery import ServiceParams
from tasks.domains import kinds
from tasks.domains.contract import BeyondLimits, Kind, Limits, Reader
from tasks.domains.cores import usable_cores
from tasks.domains.decoding.pool import Decoders, Killed

QUICK_LIMITS: Limits = {"max_pixels": 1_000_000}
"""Larger examples go to the patient lane unread."""

QUICK_CPU_S = 0.05
"""An image of a million pixels takes a hundredth to a twentieth of a second. One that takes longer is begun anew."""

_PATIENT_NICENESS = 10


class Decoding:
    """The decoders of a server.

    Args:
        kind: That of the workspace's examples.
        limits: Those of one example, as the server has them.
        service: The limits of the server.
    """

    def __init__(self, kind: Kind, limits: Limits, service: ServiceParams) -> None:
        self._decode_s = service.decode_s
        cores = usable_cores()
        num_quick = max(2, cores)
        num_patient = max(1, min(cores, service.decoding_mb * 2**20 // kind.memory_within(limits)))
        wait = {"max_waiting": service.max_waiting, "max_wait_s": service.max_wait_s}
        self._quick_queue = Queue("other examples", num=num_quick, **wait)
        self._patient_queue = Queue("other large examples", num=num_patient, **wait)
        self._quick = Decoders(num_quick, kind)
        self._patient = Decoders(num_patient, kind, niceness=_PATIENT_NICENESS)

    def wait_until_loaded(self) -> None:
        """Wait until an example would be decoded at once.

        Raises:
            Fault: No decoder can be started.
        """
        self._quick.wait_until_loaded()
        self._patient.wait_until_loaded()

    def close(self) -> None:
        """End the processes."""
        self._quick.close()
        self._patient.close()

    async def read(self, reader: Reader, content: bytes) -> np.ndarray:
        """``content`` as ``reader`` reads it.

        Raises:
            UnreadableExample: It cannot be used, or not within the limits.
            TooBusy: Others come first.
            Fault: No decoder can be started.
        """
        quick = kinds.reader_for(reader.spec, lowered(reader.limits, QUICK_LIMITS))
        size = len(content)
        try:
            return await self._quick_queue.run(_read, self._quick, quick, content, QUICK_CPU_S, size=size)
        except BeyondLimits as error:
            if any(amount > reader.limits[name] for name, amount in error.needed.items()):
                # Refused by its header once more, with the limit of the server in the message.
                return await self._quick_queue.run(
                    _read, self._quick, reader, content, QUICK_CPU_S, size=size
                )
        except Killed as error:
            if not error.late:
                raise
        return await self._patient_queue.run(_read, self._patient, reader, content, self._decode_s, size=size)


def lowered(limits: Limits, others: Limits) -> Limits:
    """``limits``, with none above that of the same name in ``others``."""
    return {name: min(limit, others.get(name, limit)) for name, limit in limits.items()}


def _read(decoders: Decoders, reader: Reader, content: bytes, cpu_s: float) -> np.ndarray:
    return decoders.read(reader, content, cpu_s=cpu_s)
