"""The models in a zoo folder, and how the table of them follows the folder."""

import logging
from pathlib import Path

from ..contract.checksums import read_checksums
from ..contract.names import ContractError
from ..contract.zoo_folder import FILE_NAME, ModelId
from .model import Model, Sessions, identity

logger = logging.getLogger("cnnzoo.serve")


class Zoo:
    """Every model of a folder `<model>/<version>/model.onnx`, and why a file is not among them.

    Names and versions are looked up in what was found, never joined into a path. A file is shown to ONNX Runtime
    before it is served, but for those beyond `sessions.max_loaded` at the start: `check_one` looks at these later.
    """

    def __init__(self, folder: Path, sessions: Sessions | None = None) -> None:
        self.folder = folder
        self.refused: dict[str, str] = {}
        self._sessions = sessions or Sessions()
        self._models: dict[str, dict[int, Model]] = {}
        self._refused_as: dict[Path, tuple[object, str | None]] = {}
        self._sums = self._read_sums()
        found = self._open(self._files())
        self._adopt(found)
        newest = sorted(found, key=lambda m: (self.versions(m.card.name).index(m.card.version), m.card.name))
        first, self._unchecked = newest[: self._sessions.max_loaded], newest[self._sessions.max_loaded :]
        for model in reversed(first):  # the newest one is then the most recently used
            self._check(model)

    @property
    def models(self) -> list[Model]:
        """Every version of every model, by name, newest first."""
        return [self._models[name][v] for name in sorted(self._models) for v in self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """The versions of a model, newest first; empty for a name that is not there."""
        return sorted(self._models.get(name, {}), reverse=True)

    def get(self, name: str, version: int | None = None) -> Model | None:
        """A version of a model, the newest by default, or None."""
        versions = self._models.get(name)
        if not versions:
            return None
        return versions.get(max(versions) if version is None else version)

    def rescan(self) -> None:
        """Takes in what is new or changed in the folder, once it is found to be good, and lets go what is gone.

        A changed file that turns out bad leaves its predecessor in place.
        """
        files, self._sums = self._files(), self._read_sums()
        known = {model.path: model for model in self.models}
        for path, model in known.items():
            if path not in files:
                logger.info("Removed %s/%s: its file is gone.", model.card.name, model.card.version)
                self._replace(model, None)
        changed = [path for path in files if path not in known or not self._is_current(known[path])]
        self.refused = {place: why for place, why in self.refused.items() if self.folder / place in changed}
        self._refused_as = {path: state for path, state in self._refused_as.items() if path in changed}
        for model in self._open([p for p in changed if self._refused_as.get(p) != self._state(p)]):
            if self._check(model):
                logger.info("Serving %s/%s.", model.card.name, model.card.version)
                self._replace(known.get(model.path), model)

    def check_one(self) -> bool:
        """Shows one more file to ONNX Runtime, of those not looked at yet; False if there is none."""
        if not self._unchecked:
            return False
        model = self._unchecked.pop(0)
        try:
            model.load()
        except ContractError as error:
            self._refuse(model.path, error)
            self._replace(model, None)
        return True

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"*/*/{FILE_NAME}") if path.is_file())

    def _open(self, paths: list[Path]) -> list[Model]:
        models = []
        for path in paths:
            try:
                models.append(Model(path, self._sessions, self._sums.get(ModelId.from_path(path).path)))
            except (ContractError, OSError) as error:
                self._refuse(path, error)
        return models

    def _check(self, model: Model) -> bool:
        try:
            self._sessions.get(model)
        except ContractError as error:
            self._refuse(model.path, error)
            if self.get(model.card.name, model.card.version) is model:
                self._replace(model, None)
            return False
        self.refused.pop(self._place(model.path), None)
        return True

    def _refuse(self, path: Path, error: ContractError | OSError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        self.refused[self._place(path)] = reason or "it cannot be read"
        self._refused_as[path] = self._state(path)
        logger.error("Refused %s: %s. The other models are served.", path, error)

    def _adopt(self, models: list[Model]) -> None:
        for model in models:
            self._models.setdefault(model.card.name, {})[model.card.version] = model

    def _replace(self, old: Model | None, new: Model | None) -> None:
        """A new table in place of the old one, in one step: requests are looked up in it all the time."""
        table = {name: dict(versions) for name, versions in self._models.items()}
        if old:
            del table[old.card.name][old.card.version]
        if new:
            table.setdefault(new.card.name, {})[new.card.version] = new
        self._models = {name: versions for name, versions in table.items() if versions}
        if old:
            old.retire()

    def _read_sums(self) -> dict[str, str]:
        """What SHA256SUMS says of each file; what cannot be read is no file's SHA-256, so none is taken in."""
        try:
            return read_checksums(self.folder)
        except (ContractError, OSError) as error:
            return {ModelId.from_path(path).path: f"nothing readable ({error})" for path in self._files()}

    def _is_current(self, model: Model) -> bool:
        return model.unchanged() and model.expected == self._sums.get(ModelId.from_path(model.path).path)

    def _state(self, path: Path) -> tuple[object, str | None]:
        return identity(path), self._sums.get(ModelId.from_path(path).path)

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.folder))
