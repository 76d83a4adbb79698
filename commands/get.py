"""Fetch a model from a running service, a web server or a folder: resumed, verified, whole or not at all."""

import contextlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..contract.checksums import SUMS, add_checksum, parse_checksums, read_checksums, sha256_of
from ..contract.model_file import check_place, read_model
from ..contract.zoo_folder import FILE_NAME, ModelId, ZooFolder, split_spec
from ..serve.session import Session
from . import say

MAX_BYTES = 2**31  # of a file; ONNX's own limit
MAX_LIST = 2**22  # bytes of a source's list of what it has
TRIES = 5


class Offer(NamedTuple):
    """A version of a model that a source has."""

    version: int
    sha256: str
    address: str  # URL or path
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class NotAsSaid(ValueError):
    """What arrived is not what the source says it has."""


def get_model(model: str, *, from_: str, zoo: Path | None = None) -> None:
    """Download a model and verify it.

    Args:
        model: NAME or NAME@VERSION (default: the newest version)
        from_: URL of a service or of a zoo folder on any web server, or a local zoo folder
        zoo: the zoo folder to download into (default: CNNZOO_ZOO, else zoo/)
    """
    name, version = split_spec(model)
    path = get(name, version, from_, zoo or ZooFolder.default().path, os.environ.get("CNNZOO_API_KEY"))
    say(f"{path} ({path.stat().st_size:,} bytes) is what {from_} offers")


def get(name: str, version: int | None, source: str, zoo: Path, api_key: str | None = None) -> Path:
    """The file of a model, in `zoo`; fetched unless it is there.

    Args:
        version: the newest by default.
        source: http(s) address of a service or of a zoo folder with its SHA256SUMS, or a folder here.
        api_key: sent to a service that asks for one.

    Raises:
        FileNotFoundError: the source has no such model; FileExistsError: another file is in its place;
        NotAsSaid or ContractError: what arrived is something else, and is not kept; httpx.HTTPError.
    """
    with httpx.Client(headers={"Accept-Encoding": "identity"}, timeout=30, follow_redirects=False) as http:
        offer = _choose(_offers(http, source, name, api_key), name, version, source)
        target = zoo / name / str(offer.version) / FILE_NAME
        read_checksums(zoo)  # where it cannot be read, the file could not be noted
        if _is_there(target, offer, source):
            return target
        zoo.mkdir(parents=True, exist_ok=True)
        part = zoo / f".get-{name}-{offer.version}-{offer.sha256[:16]}"
        lock = FileLock(f"{part}.lock")
        try:
            with lock:  # of two at once the second waits, and finds it there
                if not _is_there(target, offer, source):
                    _fetch(http, offer, part, f"{name}@{offer.version}")
                    _keep(part, offer, target)
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                zoo.rmdir()  # if nothing came of it
    return target


def _is_there(target: Path, offer: Offer, source: str) -> bool:
    if not target.is_file():
        return False
    if sha256_of(target) != offer.sha256:
        raise FileExistsError(f"{target} is there already, and is another file than the one at {source}")
    add_checksum(target.parents[2], ModelId.from_path(target).path, offer.sha256)
    return True


def _offers(http: httpx.Client, source: str, name: str, api_key: str | None) -> list[Offer]:
    """The versions of `name` that a source has."""
    if "://" not in source:
        folder = Path(source)
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {source}; an address begins with http:// or https://")
        sums = read_checksums(folder)
        if not sums:
            raise FileNotFoundError(f"{folder.absolute()} has no {SUMS} to verify its files by")
        return _listed(sums, name, str(folder))
    source = source.rstrip("/")
    status, content = _read(http, f"{source}/{SUMS}")
    if status == 200:
        return _listed(parse_checksums(content.decode(errors="replace")), name, source)
    headers: dict[str, str] = {}
    status, content = _read(http, f"{source}/models")
    if status == 401 and api_key:
        headers = {"Authorization": f"Bearer {api_key}"}
        status, content = _read(http, f"{source}/models", headers)
    if status == 401:
        raise PermissionError(f"{source} asks for a key: set CNNZOO_API_KEY{' to another one' if api_key else ''}")
    try:
        models = json.loads(content)["models"]
        return [_offered(model, source, headers) for model in models if model["name"] == name]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileNotFoundError(
            f"{source} is neither a service of cnnzoo nor a zoo folder with a {SUMS} (it answers {status})"
        ) from None


def _offered(model: Any, source: str, headers: dict[str, str]) -> Offer:
    version, sha256 = model["version"], model["sha256"]
    if type(version) is not int or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError
    return Offer(version, sha256, f"{source}/models/{model['name']}/versions/{version}.onnx", headers)


def _listed(sums: dict[str, str], name: str, source: str) -> list[Offer]:
    place = re.compile(rf"{re.escape(name)}/([1-9]\d{{0,8}})/{re.escape(FILE_NAME)}")
    found = [(place.fullmatch(path), path) for path in sums]
    return [Offer(int(match[1]), sums[path], f"{source}/{path}") for match, path in found if match]


def _choose(offers: list[Offer], name: str, version: int | None, source: str) -> Offer:
    fitting = [offer for offer in offers if version in (None, offer.version)]
    if fitting:
        return max(fitting, key=lambda offer: offer.version)
    there = ", ".join(str(number) for number in sorted(offer.version for offer in offers))
    detail = f"has no version {version} of {name}: it has {there}" if offers else f"has no model {name}"
    raise FileNotFoundError(f"{source} {detail}")


def _read(http: httpx.Client, address: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and content of a short answer."""
    content = b""
    with http.stream("GET", address, headers=headers) as answer:
        for chunk in answer.iter_raw():
            content += chunk
            if len(content) > MAX_LIST:
                raise NotAsSaid(f"{address} answers with more than {MAX_LIST:,} bytes")
        return answer.status_code, content


def _fetch(http: httpx.Client, offer: Offer, part: Path, title: str) -> None:
    """Into `part`, going on where an earlier try ended."""
    if "://" not in offer.address:
        shutil.copyfile(offer.address, part)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=None)
        for attempt in range(TRIES):
            have = part.stat().st_size if part.is_file() else 0
            headers = offer.headers | ({"Range": f"bytes={have}-"} if have else {})
            try:
                with http.stream("GET", offer.address, headers=headers) as answer:
                    if answer.status_code == 416 and have:  # all of it is there
                        return
                    answer.raise_for_status()
                    resumed = answer.status_code == 206
                    have = have if resumed else 0
                    length = answer.headers.get("content-length")
                    bar.update(task, total=have + int(length) if length else None, completed=have)
                    with part.open("ab" if resumed else "wb") as file:
                        for chunk in answer.iter_raw():
                            have += len(chunk)
                            if have > MAX_BYTES:
                                part.unlink()
                                raise NotAsSaid(f"{offer.address} sends more than {MAX_BYTES:,} bytes")
                            file.write(chunk)
                            bar.advance(task, len(chunk))
                return
            except httpx.TransportError:
                if attempt == TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)


def _keep(part: Path, offer: Offer, target: Path) -> None:
    """`part` in its place, if it is what was offered; else it is removed."""
    try:
        if (found := sha256_of(part)) != offer.sha256:
            raise NotAsSaid(
                f"what {offer.address} sent has SHA-256 {found}, it should be {offer.sha256}: nothing was kept"
            )
        model_id = ModelId.from_path(target)
        check_place(read_model(part.read_bytes()), model_id)
        Session(part.read_bytes())
        ZooFolder(target.parents[2]).add(model_id, part)
    finally:
        part.unlink(missing_ok=True)
