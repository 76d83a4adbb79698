"""The models in a zoo folder, and how they follow the folder."""

import logging
from pathlib import Path

from ..contract.image_files import readable
from ..contract.names import ContractError
from ..contract.zoo_folder import ModelId, ZooFolder
from .model import FileGone, FileState, Model, Sessions

logger = logging.getLogger("cnnzoo.serve")


class Zoo:
    """Every model of a zoo folder, and the reason for each file that is refused.

    Names and versions are looked up in what a scan found, and never joined into a path.
    """

    def __init__(self, folder: Path, sessions: Sessions | None = None) -> None:
        self.refused: dict[str, str] = {}  # reason by path
        self._said: dict[str, str] = {}  # the same at the last scan
        self._folder = ZooFolder(folder)
        self._sessions = sessions or Sessions()
        self._models: dict[str, dict[int, Model]] = {}
        self._seen: dict[Path, tuple[FileState, str | None]] = {}
        self.rescan()

    @property
    def models(self) -> list[Model]:
        """Every version of every model, by name and the newest version first."""
        table = self._models  # a scan, on its thread, replaces it at any time
        return [table[name][version] for name in sorted(table) for version in sorted(table[name], reverse=True)]

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model, newest first; empty for an unknown name."""
        return sorted(self._models.get(name, {}), reverse=True)

    def get(self, name: str, version: int | None = None) -> Model | None:
        """Return a version of a model, by default the newest, or None."""
        versions = self._models.get(name)
        if not versions:
            return None
        return versions.get(max(versions) if version is None else version)

    def rescan(self) -> None:
        """Serve new and changed files that are good, and remove the models whose file is missing.

        A changed file that is refused leaves its predecessor in place. Of the new files, as many as may be in memory
        are loaded before they are served, the newest versions first; the others when they are first asked for.
        """
        found = self._find()
        served = {model.path: model for model in self.models}
        for path in served.keys() - found.keys():
            logger.info("Removed %s: its file is missing.", readable(self._place(path)))
            self._replace(served[path], None)
        fresh = {path: state for path, state in found.items() if self._seen.get(path) != state}
        kept = {self._place(path) for path in found.keys() - fresh.keys()}
        self._said = self.refused
        self.refused = {place: reason for place, reason in self.refused.items() if place in kept}
        self._seen = found
        models = [model for path, (state, expected) in fresh.items() if (model := self._read(path, state, expected))]
        newest = _newest_first(models)
        loaded, rest = newest[: self._sessions.max_loaded], newest[self._sessions.max_loaded :]
        for model in reversed(loaded):  # the newest is then the most recently used
            if self._load(model):
                self._replace(served.get(model.path), model)
        for model in rest:
            self._replace(served.get(model.path), model)

    def _find(self) -> dict[Path, tuple[FileState, str | None]]:
        """Return state and expected SHA-256 of each file. If SHA256SUMS cannot be read, every file is refused."""
        files = self._folder.files()
        try:
            checksums = self._folder.checksums()
        except (ContractError, OSError) as error:
            return {path: (FileState.of(path), f"nothing readable ({error})") for path in files}
        return {path: (FileState.of(path), checksums.get(self._place(path))) for path in files}

    def _read(self, path: Path, state: FileState, expected: str | None) -> Model | None:
        try:
            return Model(path, self._sessions, state, expected)
        except Exception as error:
            self._refuse(path, error)
            return None

    def _load(self, model: Model) -> bool:
        try:
            self._sessions.get(model)
        except Exception as error:
            self._refuse(model.path, error)
            return False
        return True

    def _refuse(self, path: Path, error: Exception) -> None:
        """Note why a file is refused. An unexpected exception also is about this file: the others are served.

        A file that cannot be read is tried again at the next scan: new rights do not change its state.
        """
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "it cannot be read"
        place = self._place(path)
        self.refused[place] = reason
        if isinstance(error, OSError | FileGone):
            del self._seen[path]
        if self._said.get(place) == reason:
            return
        expected = isinstance(error, ContractError | OSError)
        logger.error(
            "Refused %s: %s. The other models are served.",
            readable(path),
            readable(reason),
            exc_info=None if expected else error,
        )

    def _replace(self, old: Model | None, new: Model | None) -> None:
        """Replace the table in one step: requests look models up in it at any time."""
        table = {name: dict(versions) for name, versions in self._models.items()}
        if old:
            del table[old.card.name][old.card.version]
        if new:
            table.setdefault(new.card.name, {})[new.card.version] = new
        self._models = {name: versions for name, versions in table.items() if versions}
        if old:
            self._sessions.detach(old)

    def _place(self, path: Path) -> str:
        return path.relative_to(self._folder.path).as_posix()


def _newest_first(models: list[Model]) -> list[Model]:
    """Return the newest version of every model first, then every second-newest, and so on; each group by name."""
    ids = [ModelId(model.card.name, model.card.version) for model in models]
    ranks = {id: sum(other.name == id.name and other.version > id.version for other in ids) for id in ids}
    return sorted(models, key=lambda model: (ranks[ModelId(model.card.name, model.card.version)], model.card.name))
