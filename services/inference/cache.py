"""CTs on the network grid, kept for the next model that asks for the same one."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.int16]


class GridCache:
    """The volumes used last, up to `limit_bytes` together. Who asks for one that is being made waits for it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Volume] = OrderedDict()
        self._making: dict[str, Future[Volume]] = {}

    def get(self, key: str, make: Callable[[], Volume]) -> Volume:
        """The volume of `key`, read-only, made by `make` if it is not there. Raises what `make` raises."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            making = self._making.get(key)
            if making is None:
                mine = self._making[key] = Future()
        if making is not None:
            return making.result()
        try:
            volume = make()
            volume.flags.writeable = False
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(volume)
            return volume
        finally:
            with self._lock:
                del self._making[key]
                if mine.exception() is None:
                    self._keep(key, mine.result())

    def _keep(self, key: str, volume: Volume) -> None:
        self._kept[key] = volume
        while self._kept and sum(kept.nbytes for kept in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)
