"""One version of one model: its card and checksum from the scan, its session while it is in use."""

import hashlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..contract.checksums import check_sha256
from ..contract.machine import cores
from ..contract.model_file import check_path, read_model
from ..contract.names import ContractError
from ..contract.zoo_folder import ModelId
from .batcher import Batcher
from .session import Session

LARGEST = 2**31 - 1  # bytes of a protobuf message; to read a larger file would keep the others waiting


class FileState(NamedTuple):
    """Identity of a file's content. Another file at the same path differs in one of them; all are 0 for no file."""

    size: int = 0
    modified: int = 0  # nanoseconds
    inode: int = 0

    @classmethod
    def of(cls, path: Path) -> "FileState":
        try:
            stat = path.stat()
        except OSError:
            return cls()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class FileGone(ContractError):
    """Error of a file that was changed or removed after the scan."""


class NotFinite(Exception):
    """An output, named by the message, that is not a number for some image."""


class Model:
    """A file of the zoo folder. Reads it, and checks it against the contract.

    Args:
        path: <model>/<version>/model.onnx.
        sessions: the sessions in memory.
        state: of the file when it was found.
        expected: its SHA-256 according to SHA256SUMS, or None.

    Raises:
        ContractError, OSError: the file cannot be served.
    """

    def __init__(self, path: Path, sessions: "Sessions", state: FileState, expected: str | None = None) -> None:
        self.path = path
        self._state = state
        if state.size > LARGEST:
            raise ContractError(f"it has {state.size:,} bytes: an ONNX file has at most {LARGEST:,}")
        content = path.read_bytes()
        self.size = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.card = read_model(content)
        check_path(self.card, ModelId.from_path(path))
        check_sha256(self.sha256, expected)
        self._sessions = sessions
        self.removed = False  # the file was removed or replaced
        self.detached: Session | None = None  # the session of a removed file, for requests in flight
        observe = partial(sessions.observe, self.card.name)
        limits = sessions.max_batch, sessions.max_queue
        # Without a cycle of references, which Python would find late: service.py makes collections rare.
        this = weakref.proxy(self)
        run, ready = lambda images: this.run(images), lambda: this.is_loaded()
        self.batcher = Batcher(run, *limits, sessions.executor, observe, ready)

    def unchanged(self) -> bool:
        """Return True if the file on disk is the one that was read."""
        return FileState.of(self.path) == self._state

    def run(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the outputs of uint8 images [N, C, H, W], as `Session.run`.

        Raises ContractError if the session is not in memory and the file can no longer be loaded, NotFinite if an
        answer is not a number.
        """
        outputs = self._sessions.get(self).run(images)
        for name, values in zip(self.card.outputs, outputs, strict=True):
            if not np.isfinite(values).all():  # JSON has no NaN
                raise NotFinite(name)
        return outputs

    def is_loaded(self) -> bool:
        """Return True if the session is in memory."""
        return self.detached is not None or self in self._sessions.loaded

    def load(self) -> Session:
        """Return a new session. Raises ContractError as `read`."""
        return Session(self.read(), self._sessions.threads)

    def read(self) -> bytes:
        """Return the file's content. Raises FileGone if it is not the one that was read at the scan."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise FileGone(f"it cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise FileGone("it was changed on disk")
        return content


class Sessions:
    """Sessions in memory. The least recently used one is dropped first.

    Args:
        max_loaded: sessions in memory.
        threads: for one batch of a model; 0: one a core.
        max_batch: images in a batch of a model.
        max_queue: images in the queue of a model.
        observe: is called with a model's name and the number of images in each batch.
    """

    def __init__(
        self,
        max_loaded: int = 16,
        threads: int = 0,
        max_batch: int = 64,
        max_queue: int = 4096,
        observe: Callable[[str, int], None] = lambda model, images: None,
    ) -> None:
        self.max_loaded, self.threads, self.max_batch, self.max_queue = max_loaded, threads, max_batch, max_queue
        self.observe = observe
        self.executor = ThreadPoolExecutor(cores(), "inference")
        self.loaded: OrderedDict[Model, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: Model) -> Session:
        """Return a model's session, and load it if needed. Raises what `Model.load` raises."""
        with self._lock:
            if session := self.loaded.get(model) or model.detached:
                if model in self.loaded:
                    self.loaded.move_to_end(model)
                return session
        session = model.load()
        with self._lock:
            if model.removed:
                model.detached = session
                return session
            self.loaded[model] = session
            while len(self.loaded) > self.max_loaded:
                self.loaded.popitem(last=False)
        return session

    def detach(self, model: Model) -> None:
        """Drop the session of a removed or replaced file. Requests in flight, which hold the model, keep it."""
        with self._lock:
            model.removed = True
            model.detached = self.loaded.pop(model, None)
