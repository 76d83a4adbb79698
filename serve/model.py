"""One version of one model: its card at once, its network when it is first asked for."""

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..contract.card import ModelCard
from ..contract.checksums import SUMS, sha256_of
from ..contract.model_file import read_card
from ..contract.names import ContractError
from .batcher import Batcher
from .session import Session


class Model:
    """A file of the zoo folder.

    Args:
        path: <model>/<version>/model.onnx.
        sessions: where its network is kept while it is in use.
        expected: the SHA-256 that it should have, if that is known.

    Raises:
        ContractError, OSError: if it can be told from the card alone that the file is none of the zoo's.
    """

    def __init__(self, path: Path, sessions: "Sessions", expected: str | None = None) -> None:
        self.path = path
        self.expected = expected
        self._identity = identity(path)
        self.card = _card(path)
        self._sessions = sessions
        self._last: Session | None = None
        self._sha256: str | None = None
        self.infer = Batcher(self.run, sessions.max_batch, sessions.max_queue, self.card.name)

    @property
    def size(self) -> int:
        return self._identity[0]

    @property
    def sha256(self) -> str:
        """In hex. Reads the whole file the first time, unless the network is loaded already."""
        if self._sha256 is None:
            self._sha256 = sha256_of(self.path)
        return self._sha256

    def unchanged(self) -> bool:
        """Whether the file is still the one that was found."""
        return identity(self.path) == self._identity

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W].

        Raises ContractError if the network has to be loaded and the file can no longer be.
        """
        return (self._last or self._sessions.get(self)).run(images)

    def load(self) -> Session:
        """A new session. Raises ContractError unless the file is, all through, what its card says."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ContractError(f"it cannot be read ({error.strerror})") from None
        sha256 = hashlib.sha256(data).hexdigest()
        if self.expected not in (None, sha256):
            raise ContractError(f"its SHA-256 is {sha256}, {SUMS} says {self.expected}: it is damaged or was changed")
        session = Session(data, self._sessions.threads, self._sessions.max_batch)
        if session.card != self.card:
            raise ContractError("it changed while it was read")
        self._sha256 = sha256
        return session

    def retire(self) -> None:
        """Of no file any more: requests that hold this model keep its network until they are answered."""
        self._last = self._sessions.drop(self)


class Sessions:
    """The networks in memory: at most `max_loaded`, the least recently used one goes first."""

    def __init__(self, max_loaded: int = 16, threads: int = 0, max_batch: int = 64, max_queue: int = 4096) -> None:
        self.max_loaded, self.threads, self.max_batch, self.max_queue = max_loaded, threads, max_batch, max_queue
        self.loaded: OrderedDict[Model, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: Model) -> Session:
        with self._lock:
            if session := self.loaded.get(model):
                self.loaded.move_to_end(model)
                return session
        session = model.load()
        with self._lock:
            self.loaded[model] = session
            while len(self.loaded) > self.max_loaded:
                self.loaded.popitem(last=False)
        return session

    def drop(self, model: Model) -> Session | None:
        with self._lock:
            return self.loaded.pop(model, None)


def identity(path: Path) -> tuple[int, int, int]:
    """(size, time of change, inode): another file in the same place has another one."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _card(path: Path) -> ModelCard:
    return read_card(path)
