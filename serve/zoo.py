"""The models in a zoo folder, each version loaded and ready."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from .contract import FILE_NAME, ContractError, ModelCard, check_name
from .session import Session

logger = logging.getLogger("cnnzoo.serve")


def zoo_dir() -> Path:
    """The folder that is served: CNNZOO_ZOO, else zoo/."""
    return Path(os.environ.get("CNNZOO_ZOO", "zoo")).expanduser().absolute()


@dataclass(frozen=True)
class Model:
    """One version of one model."""

    path: Path
    sha256: str
    size: int
    mtime_ns: int
    session: Session

    @property
    def card(self) -> ModelCard:
        return self.session.card

    def unchanged(self) -> bool:
        """Whether the file is still the one that was loaded."""
        try:
            stat = self.path.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)


class Zoo:
    """Every model of a folder `<model>/<version>/model.onnx`, and why a file is not among them.

    Names and versions are looked up in what was found, never joined into a path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: dict[str, str] = {}
        self._models: dict[str, dict[int, Model]] = {}
        for path in sorted(folder.glob(f"*/*/{FILE_NAME}")):
            try:
                model = _load(path)
            except (ContractError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self.refused[str(path.relative_to(folder))] = reason or "it cannot be read"
                logger.error("Refused %s: %s. The other models are served.", path, error)
                continue
            self._models.setdefault(model.card.name, {})[model.card.version] = model

    @property
    def models(self) -> list[Model]:
        """Every version of every model, by name, newest first."""
        return [self._models[name][v] for name in sorted(self._models) for v in self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """The versions of a model, newest first; empty for a name that is not there."""
        return sorted(self._models.get(name, {}), reverse=True)

    def get(self, name: str, version: int | None = None) -> Model | None:
        """A version of a model, the newest by default, or None."""
        versions = self._models.get(name, {})
        if not versions:
            return None
        return versions.get(max(versions) if version is None else version)


def _load(path: Path) -> Model:
    check_name(path.parent.parent.name)
    before = path.stat()
    data = path.read_bytes()
    session = Session(data)
    found = f"{session.card.name}/{session.card.version}"
    place = f"{path.parent.parent.name}/{path.parent.name}"
    if found != place:
        raise ContractError(f"its card says {found}, but it lies in {place}: move it there")
    return Model(path, hashlib.sha256(data).hexdigest(), len(data), before.st_mtime_ns, session)
