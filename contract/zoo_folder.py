"""The zoo folder: <model>/<version>/model.onnx and SHA256SUMS. No other code builds or parses these paths."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .checksums import SUMS, add_checksum, check_sha256, read_checksums, sha256_of
from .names import ContractError, check_name, did_you_mean

FILE_NAME = "model.onnx"
ATTEMPTS = 5  # to list a folder that changes meanwhile
SHIPPED = Path(__file__).parent.parent / "zoo"  # the models that come with cnnzoo


class ModelId(NamedTuple):
    """A version of a model, written NAME@VERSION."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def path(self) -> str:
        """The path of its file in a zoo folder, with forward slashes, as in SHA256SUMS."""
        return f"{self.name}/{self.version}/{FILE_NAME}"

    @classmethod
    def from_path(cls, path: str | Path) -> "ModelId":
        """Return the model and version of a path that ends in <model>/<version>/model.onnx.

        Raises ContractError for any other path.
        """
        name, version, file_name = ("", "", "", *Path(path).parts)[-3:]
        if file_name != FILE_NAME or not _is_version(version):
            raise ContractError(f"{path} is not in a zoo folder: expected <model>/<version>/{FILE_NAME}")
        return cls(check_name(name), int(version))


def split_spec(spec: str) -> tuple[str, int | None]:
    """Split NAME or NAME@VERSION into name and version (None: the newest). Raises ContractError."""
    name, at, version = spec.partition("@")
    if at and not _is_version(version):
        raise ContractError(f"{spec!r}: write it as NAME@VERSION, such as digits_cnn@1")
    return check_name(name), int(version) if at else None


@dataclass(frozen=True)
class ZooFolder:
    """A folder of exported models.

    Args:
        path: the folder. It need not exist, and may begin with ~.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.expanduser())

    @classmethod
    def default(cls) -> "ZooFolder":
        """Return the folder for new files: CNNZOO_ZOO, else zoo/."""
        return cls(Path(os.environ.get("CNNZOO_ZOO") or "zoo"))

    @classmethod
    def to_read(cls) -> "ZooFolder":
        """Return the folder to read from: CNNZOO_ZOO, else zoo/, else the models that come with cnnzoo."""
        default = cls.default()
        return default if os.environ.get("CNNZOO_ZOO") or default.path.is_dir() else cls(SHIPPED)

    @classmethod
    def around(cls, file: Path) -> "ZooFolder":
        """Return the folder of the file at <folder>/<model>/<version>/model.onnx. Raises ContractError."""
        ModelId.from_path(file.absolute())
        return cls(file.absolute().parents[2])

    def files(self) -> list[Path]:
        """Return every file at */*/model.onnx, also with an invalid name or version, sorted by path."""
        for attempt in range(ATTEMPTS):
            try:
                return sorted(path for path in self.path.glob(f"*/*/{FILE_NAME}") if path.is_file())
            except FileNotFoundError:  # a folder was removed meanwhile, such as that of an export
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def ids(self) -> list[ModelId]:
        """Return every model and version, by name and the newest version first."""
        found = []
        for path in self.files():
            try:
                found.append(ModelId.from_path(path))
            except ContractError:
                continue
        return sorted(found, key=lambda model_id: (model_id.name, -model_id.version))

    def file(self, model_id: ModelId) -> Path:
        """Return the path of a model's file, whether it exists or not."""
        return self.path / model_id.path

    def next_version(self, name: str) -> int:
        """Return 1, or the highest version of a model plus 1. A version folder counts even if it is empty."""
        folder = self.path / name
        taken = [int(entry.name) for entry in folder.iterdir() if _is_version(entry.name)] if folder.is_dir() else []
        return max(taken, default=0) + 1

    def check_writable(self) -> None:
        """Raise PermissionError if no file can be added, NotADirectoryError if the folder is a file."""
        existing = next(folder for folder in (self.path.absolute(), *self.path.absolute().parents) if folder.exists())
        if not existing.is_dir():
            raise NotADirectoryError(f"the zoo {existing} is a file: give a folder")
        sums = self.path / SUMS
        for path in (existing, *([sums] if sums.exists() else [])):
            if not os.access(path, os.W_OK):
                raise PermissionError(f"nothing can be written into {path}: give another --zoo")

    def add(self, model_id: ModelId, content: bytes | Path) -> Path:
        """Add a file atomically, note its SHA-256 in SHA256SUMS, and return its path.

        Args:
            content: the file's bytes, or a file in this folder's file system, which is moved.

        Raises FileExistsError if the version exists, ContractError if SHA256SUMS is malformed; no file is added then.
        """
        target = self.file(model_id)
        if target.parent.exists():
            raise FileExistsError(f"{target.parent} exists already")
        self.checksums()  # fail before the file is in place
        sha256 = hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)
        is_new = not self.path.exists()
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        if not any(target.parent.parent.iterdir()):
            target.parent.parent.chmod(0o755)  # whatever the umask: the service may run as another user
        if is_new:
            self.path.chmod(0o755)
        staging = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.path))
        try:
            if isinstance(content, bytes):
                (staging / FILE_NAME).write_bytes(content)
            else:
                content.replace(staging / FILE_NAME)
            (staging / FILE_NAME).chmod(0o644)
            staging.chmod(0o755)
            staging.rename(target.parent)
        except OSError:
            if target.parent.exists():  # another process was faster
                raise FileExistsError(f"{target.parent} exists already") from None
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        add_checksum(self.path, model_id.path, sha256)
        return target

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 in hex by relative path. Raises ContractError if SHA256SUMS is malformed."""
        return read_checksums(self.path)

    def missing(self) -> list[str]:
        """Return the paths that SHA256SUMS lists and that do not exist."""
        return [path for path in self.checksums() if not (self.path / path).is_file()]


def open_zoo(path: Path | None) -> ZooFolder:
    """Return the folder to read from; the default one for None. Raises FileNotFoundError if there is none."""
    zoo = ZooFolder(path) if path else ZooFolder.to_read()
    if not zoo.path.is_dir():
        raise FileNotFoundError(f"there is no folder {zoo.path.absolute()}")
    return zoo


def find_file(model: str, zoo: Path | None = None) -> Path:
    """Return the file of NAME (the newest version), NAME@VERSION, or of a path that ends in .onnx.

    Args:
        zoo: the folder of the named model; by default CNNZOO_ZOO, else zoo/, and then the models that come with cnnzoo.

    Raises FileNotFoundError with the models that exist, and ContractError for a malformed name.
    """
    if model.endswith(".onnx"):
        path = Path(model).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {model}")
        return path
    return _find(model, [ZooFolder(zoo)] if zoo else search_path())


def search_path() -> list[ZooFolder]:
    """Return the folders where a model is searched by its name: CNNZOO_ZOO, else zoo/ and the shipped models."""
    own = ZooFolder.default()
    alone = os.environ.get("CNNZOO_ZOO") or own.path.absolute() == SHIPPED.absolute()
    return [own] if alone else [own, ZooFolder(SHIPPED)]


def read_listed(path: Path) -> bytes:
    """Return the content of an exported file.

    Raises FileNotFoundError, and ContractError if the zoo folder around it lists another SHA-256.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    content = path.read_bytes()
    try:
        model_id = ModelId.from_path(path.absolute())
    except ContractError:  # not in a zoo folder
        return content
    check_sha256(hashlib.sha256(content).hexdigest(), ZooFolder.around(path).checksums().get(model_id.path))
    return content


def _find(spec: str, folders: Sequence[ZooFolder]) -> Path:
    name, version = split_spec(spec)
    existing = [folder for folder in folders if folder.path.is_dir()]
    if not existing:
        raise FileNotFoundError(f"there is no folder {folders[0].path.absolute()}")
    there = [(folder, model_id) for folder in existing for model_id in folder.ids()]
    for folder, model_id in there:
        if model_id.name == name and version in (None, model_id.version):
            return folder.file(model_id)
    names = ", ".join(dict.fromkeys(str(model_id) for _, model_id in there)) or "none"
    places = " and ".join(str(folder.path.absolute()) for folder in existing)
    known = {model_id.name for _, model_id in there}
    hint = "" if name in known else did_you_mean(name, known)
    raise FileNotFoundError(f"there is no {spec} in {places}{hint} (there are {names})")


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and not text.startswith("0") and len(text) < 10
