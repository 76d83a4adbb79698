"""Fetch a model from a service, a web server or a folder into a zoo folder."""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..contract.checksums import SUMS, add_checksum, parse_checksums, read_checksums, sha256_of
from ..contract.files import cache_dir
from ..contract.model_file import check_path, read_model
from ..contract.names import ContractError
from ..contract.zoo_folder import ModelId, ZooFolder, split_spec
from ..serve.client import ServiceError, raise_for_error
from ..serve.downloads import NOT_SATISFIABLE, Download, DownloadError
from ..serve.session import Session
from . import say

MAX_LIST = 2**22  # bytes of a source's list of models
TRIES = 5


class Offer(NamedTuple):
    """A version of a model that a source has."""

    model_id: ModelId
    sha256: str
    url: str  # or a path
    headers: dict[str, str]


def get_model(model: str, /, *, from_: str, zoo: Path | None = None) -> None:
    """Download a model and verify it.

    Resumes an interrupted download. Keeps the file only if its SHA-256, its model card and its network are valid.
    Sends CNNZOO_API_KEY to a service that asks for a key.

    Args:
        model: NAME or NAME@VERSION (default: the newest version)
        from_: URL of a service or of a zoo folder on any web server, or a local zoo folder
        zoo: the zoo folder to download into (default: CNNZOO_ZOO, else zoo/)
    """
    name, version = split_spec(model)
    folder = ZooFolder(zoo) if zoo else ZooFolder.default()
    path = fetch(name, version, from_, folder.path, os.environ.get("CNNZOO_API_KEY"))
    say(f"{path} ({path.stat().st_size:,} bytes) is what {from_} offers")


def fetch(name: str, version: int | None, source: str, zoo: Path, api_key: str | None = None) -> Path:
    """Return the path of a model in `zoo`, after fetching it if it is missing.

    Args:
        version: None for the newest.
        source: URL of a service or of a zoo folder with SHA256SUMS, or the path of such a folder.
        api_key: for a service that asks for one.

    Raises FileNotFoundError if the source does not have the model, FileExistsError if `zoo` has another file in its
    place, DownloadError or ContractError if the fetched file is invalid (it is not kept), and httpx.HTTPError.
    """
    folder, existed = ZooFolder(zoo), zoo.exists()
    with httpx.Client(headers={"Accept-Encoding": "identity"}, timeout=30, follow_redirects=False) as http:
        offer = _choose(_offers(http, source, name, api_key), name, version, source)
        target = folder.file(offer.model_id)
        folder.checksums()  # fail before the download if SHA256SUMS is malformed
        try:
            with _lock(target):  # a second process waits, and then finds the file
                if not _is_present(folder, offer, source):
                    _download(http, offer, zoo / f".get-{name}-{offer.model_id.version}-{offer.sha256[:16]}", folder)
                    if not existed:
                        zoo.chmod(0o755)  # whatever the umask: the service may run as another user
        finally:
            if not existed:
                with contextlib.suppress(OSError):  # not empty
                    zoo.rmdir()
    return target


def _lock(target: Path) -> FileLock:
    """Return the lock of one file. It is kept, since deleting it would give two waiting processes two locks."""
    locks = cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:32])


def _is_present(folder: ZooFolder, offer: Offer, source: str) -> bool:
    target = folder.file(offer.model_id)
    if not target.parent.exists():
        return False
    if not target.is_file() or sha256_of(target) != offer.sha256:
        raise FileExistsError(f"{target.parent} exists, and has not the file at {source}: remove that folder first")
    add_checksum(folder.path, offer.model_id.path, offer.sha256)
    return True


def _offers(http: httpx.Client, source: str, name: str, api_key: str | None) -> list[Offer]:
    """Return the versions of `name` that a source has."""
    if "://" not in source:
        if not Path(source).is_dir():
            raise FileNotFoundError(f"there is no folder {source}: a URL starts with http:// or https://")
        if not (checksums := read_checksums(Path(source))):
            raise FileNotFoundError(f"{Path(source).absolute()} has no {SUMS}: expected one, to verify its files")
        return _listed(checksums, name, source)
    source = source.rstrip("/")
    status, content = _read(http, f"{source}/{SUMS}", {})
    if status == 200:
        return _listed(parse_checksums(content.decode(errors="replace")), name, source)
    headers: dict[str, str] = {}
    status, content = _read(http, f"{source}/models", headers)
    if status == 401 and api_key:
        headers = {"Authorization": f"Bearer {api_key}"}
        status, content = _read(http, f"{source}/models", headers)
    if status == 401:
        raise PermissionError(f"{source} asks for a key: set CNNZOO_API_KEY{' to another one' if api_key else ''}")
    if status != 404 and not 200 <= status < 300:
        raise DownloadError(f"{source}/models: HTTP {status}")
    try:
        models = json.loads(content)["models"]
        return [_offered(model, source, headers) for model in models if model["name"] == name]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileNotFoundError(
            f"{source} is neither a service of cnnzoo nor a zoo folder with a {SUMS} (status {status})"
        ) from None


def _offered(model: Any, source: str, headers: dict[str, str]) -> Offer:
    version, sha256 = model["version"], model["sha256"]
    if type(version) is not int or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"version {version!r} with SHA-256 {sha256!r}")
    url = f"{source}/models/{model['name']}/versions/{version}.onnx"
    return Offer(ModelId(model["name"], version), sha256, url, headers)


def _listed(checksums: dict[str, str], name: str, source: str) -> list[Offer]:
    offers = []
    for path, sha256 in checksums.items():
        with contextlib.suppress(ContractError):  # a line for a file that is no model
            model_id = ModelId.from_path(path)
            if model_id.name == name and model_id.path == path:
                offers.append(Offer(model_id, sha256, f"{source}/{path}", {}))
    return offers


def _choose(offers: list[Offer], name: str, version: int | None, source: str) -> Offer:
    matching = [offer for offer in offers if version in (None, offer.model_id.version)]
    if matching:
        return max(matching, key=lambda offer: offer.model_id.version)
    there = ", ".join(str(number) for number in sorted(offer.model_id.version for offer in offers))
    detail = f"has no version {version} of {name}: it has {there}" if offers else f"has no model {name}"
    raise FileNotFoundError(f"{source} {detail}")


def _read(http: httpx.Client, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Return the status and the body of a short response."""
    content = b""
    with http.stream("GET", url, headers=headers) as response:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > MAX_LIST:
                raise DownloadError(f"{url} answers with more than {MAX_LIST:,} bytes: expected a list of models")
        return response.status_code, content


def _download(http: httpx.Client, offer: Offer, path: Path, folder: ZooFolder) -> None:
    """Download to `path`, check the file, and move it into the zoo folder. An invalid file is removed."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(str(offer.model_id), total=None)
        for remaining in reversed(range(TRIES)):
            try:
                _receive(http, offer, path, lambda done, total: bar.update(task, completed=done, total=total))
                break
            except httpx.TransportError:
                if not remaining:
                    raise
                time.sleep(0.2 * 2 ** (TRIES - 1 - remaining))
    try:
        content = path.read_bytes()
        check_path(read_model(content), offer.model_id)
        Session(content)
        folder.add(offer.model_id, path)
    finally:
        path.unlink(missing_ok=True)


def _raise_for_error(response: httpx.Response) -> None:
    """Raise DownloadError with the service's own message, or with the status of a web server."""
    try:
        raise_for_error(response)
    except ServiceError as error:
        said = response.reason_phrase if error.code == "unknown" else error
        raise DownloadError(f"{response.url}: HTTP {error.status}, {said}") from None


def _receive(http: httpx.Client, offer: Offer, path: Path, report: Callable[[int, int | None], None]) -> None:
    """Make one attempt to download to `path`. Calls `report` with the bytes received and the total, if known."""
    with Download(path, offer.sha256) as download:
        if "://" not in offer.url:
            with open(offer.url, "rb") as file:
                download.begin(200, {})
                for chunk in iter(lambda: file.read(2**20), b""):
                    download.write(chunk)
                    report(download.received, Path(offer.url).stat().st_size)
        else:
            with http.stream("GET", offer.url, headers=offer.headers | download.headers()) as response:
                if not response.is_success and response.status_code != NOT_SATISFIABLE:
                    response.read()
                    _raise_for_error(response)
                if download.begin(response.status_code, response.headers):
                    length = response.headers.get("content-length")
                    total = download.received + int(length) if length else None
                    for chunk in response.iter_raw():
                        download.write(chunk)
                        report(download.received, total)
        download.finish()
