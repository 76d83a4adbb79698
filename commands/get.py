"""Fetch a model from a running service, a web server or a folder: resumed, verified, whole or not at all."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..serve.contract import FILE_NAME, read_card
from ..serve.session import Session
from ..serve.sums import SUMS, add_sum, digest, parse_sums, read_sums

MAX_BYTES = 2**31  # of a file; ONNX's own limit
TRIES = 5


class Offer(NamedTuple):
    """A version of a model that a source has."""

    version: int
    sha256: str
    address: str  # URL or path


class NotAsSaid(ValueError):
    """What arrived is not what the source says it has."""


def get(name: str, version: int | None, source: str, zoo: Path, api_key: str | None = None) -> Path:
    """The file of a model, in `zoo`; fetched unless it is there.

    Args:
        version: the newest by default.
        source: http(s) address of a service or of a zoo folder with its SHA256SUMS, or a folder here.
        api_key: that the service asks for.

    Raises:
        FileNotFoundError: the source has no such model; FileExistsError: another file is in its place;
        NotAsSaid or ContractError: what arrived is something else, and is not kept; httpx.HTTPError.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    with httpx.Client(headers=headers, timeout=30, follow_redirects=False) as http:
        offer = _choose(_offers(http, source, name), name, version, source)
        target = zoo / name / str(offer.version) / FILE_NAME
        if target.is_file():
            if digest(target) == offer.sha256:
                return target
            raise FileExistsError(f"{target} is there already, and is another file than the one at {source}")
        zoo.mkdir(parents=True, exist_ok=True)
        part = zoo / f".get-{name}-{offer.version}-{offer.sha256[:16]}"
        if "://" in source:
            _fetch(http, offer, part, f"{name}@{offer.version}")
        else:
            shutil.copyfile(offer.address, part)
        return _keep(part, offer, target)


def _offers(http: httpx.Client, source: str, name: str) -> list[Offer]:
    """The versions of `name` that a source has; its name is one that an address may hold."""
    if "://" not in source:
        folder = Path(source)
        sums = read_sums(folder)
        if not sums:
            raise FileNotFoundError(f"{folder.absolute()} has no {SUMS}: give a zoo folder")
        return _listed(sums, name, str(folder))
    source = source.rstrip("/")
    static = http.get(f"{source}/{SUMS}")
    if static.status_code == 200 and (sums := parse_sums(static.text)):
        return _listed(sums, name, source)
    answer = http.get(f"{source}/models")
    if answer.status_code == 401:
        raise PermissionError(f"{source} asks for a key: set CNNZOO_API_KEY")
    try:
        own = [model for model in answer.raise_for_status().json()["models"] if model["name"] == name]
        sums = {f"{name}/{int(model['version'])}/{FILE_NAME}": str(model["sha256"]) for model in own}
        checked = parse_sums("".join(f"{sha256}  {place}\n" for place, sha256 in sums.items()))
        offers = _listed(checked, name, source)
        return [offer._replace(address=f"{source}/models/{name}/versions/{offer.version}.onnx") for offer in offers]
    except (ValueError, KeyError, TypeError, httpx.HTTPStatusError):
        raise FileNotFoundError(f"{source} is neither a service of cnnzoo nor a zoo folder with a {SUMS}") from None


def _listed(sums: dict[str, str], name: str, source: str) -> list[Offer]:
    places = [(place, place.split("/")) for place in sums]
    return [
        Offer(int(parts[1]), sums[place], f"{source}/{place}")
        for place, parts in places
        if len(parts) == 3 and parts[0] == name and parts[1].isdecimal() and parts[2] == FILE_NAME
    ]


def _choose(offers: list[Offer], name: str, version: int | None, source: str) -> Offer:
    fitting = [offer for offer in offers if version in (None, offer.version)]
    if fitting:
        return max(fitting)
    there = ", ".join(str(offer.version) for offer in sorted(offers))
    detail = f"has no version {version} of {name}: it has {there}" if offers else f"has no model {name}"
    raise FileNotFoundError(f"{source} {detail}")


def _fetch(http: httpx.Client, offer: Offer, part: Path, title: str) -> None:
    """Into `part`, going on where an earlier try ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=None)
        for left in reversed(range(TRIES)):
            have = part.stat().st_size if part.is_file() else 0
            try:
                with http.stream("GET", offer.address, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
                    if answer.status_code == 416:  # all of it is there
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
                                raise NotAsSaid(f"{offer.address} sends more than {MAX_BYTES:,} bytes")
                            file.write(chunk)
                            bar.advance(task, len(chunk))
                return
            except httpx.TransportError:
                if not left:
                    raise


def _keep(part: Path, offer: Offer, target: Path) -> Path:
    """`part` in its place, if it is what was offered; else it is removed."""
    name, zoo = target.parent.parent.name, target.parents[2]
    work = Path(tempfile.mkdtemp(prefix=".got-", dir=zoo))
    try:
        found = digest(part)
        if found != offer.sha256:
            part.unlink()
            raise NotAsSaid(
                f"what {offer.address} sent has SHA-256 {found}, it should be {offer.sha256}: nothing was kept"
            )
        place = work / name / str(offer.version) / FILE_NAME
        place.parent.mkdir(parents=True)
        part.replace(place)
        read_card(place)
        Session(place.read_bytes())
        target.parent.parent.mkdir(exist_ok=True)
        os.rename(place.parent, target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    add_sum(target)
    return target
