"""A client for the three things that people do: classify pictures, infer arrays, download a model.

    with Client("http://127.0.0.1:3000") as client:
        client.classify("mnist_cnn", ["seven.png"])[0].label        # "7"
        client.infer("mnist_cnn", images)                           # images: uint8 [N, C, H, W]
        client.download("mnist_cnn", "mnist_cnn.onnx")              # verified, resumed if broken off

`AsyncClient` has the same methods to await.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self
from urllib.parse import quote

import httpx
import numpy as np

from ..contract.names import HEADER_LENGTH, INPUT, LOGITS, PROBABILITIES

Picture = str | os.PathLike[str] | bytes


class ServiceError(Exception):
    """The service's own words for what was wrong.

    Args:
        status: of HTTP.
        code: the service's word for programs.
        message: what was wrong and what would be right.
        request_id: under which the service's log says more.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class DownloadError(Exception):
    """What arrived is not what the service says it sent."""


@dataclass(frozen=True)
class Prediction:
    """A picture's likeliest classes, likeliest first.

    Args:
        file: the picture's name.
        classes: (label, probability) pairs; empty if the picture could not be used.
        error: why it could not be, or None.
    """

    file: str
    classes: tuple[tuple[str, float], ...]
    error: str | None = None

    @property
    def label(self) -> str:
        """The likeliest class. Raises ValueError if the picture could not be used."""
        if not self.classes:
            raise ValueError(f"{self.file}: {self.error}")
        return self.classes[0][0]


class Outputs(NamedTuple):
    """float32 [N, classes] each."""

    logits: np.ndarray
    probabilities: np.ndarray


class Client:
    """Asks a service over HTTP.

    Args:
        url: where it is, such as http://127.0.0.1:3000.
        api_key: if the service has one.
        timeout: seconds.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(api_key), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """Every model and version: classes, metrics, size, sha256, links."""
        return _checked(self._http.get("/models")).json()["models"]

    def classify(
        self, model: str, pictures: Iterable[Picture], top_k: int = 3, version: int | None = None
    ) -> list[Prediction]:
        """The likeliest classes of PNG or JPEG files, given as paths or as their content, in order.

        A picture that cannot be used has its `error`; ServiceError if none can.
        """
        path = _path("v1", model, version, "predict")
        return _predictions(_checked(self._http.post(path, params={"top_k": top_k}, files=_form(pictures))))

    def infer(self, model: str, images: np.ndarray, version: int | None = None) -> Outputs:
        """The network's outputs for images uint8 [N, C, H, W] of its own size, raw pixels 0-255."""
        content, headers = _binary(images)
        response = self._http.post(_path("v2", model, version, "infer"), content=content, headers=headers)
        return _outputs(_checked(response))

    def download(self, model: str, path: str | os.PathLike[str], version: int | None = None) -> Path:
        """The model's file at `path`, which is only ever written whole and with the right SHA-256.

        What an earlier try left is gone on with. Raises DownloadError if what arrived is something else.
        """
        part = _Part(Path(path))
        with self._http.stream("GET", _file(model, version), headers=part.headers()) as response:
            if response.is_error:
                response.read()
            with part.begin(response) as file:
                for chunk in response.iter_bytes() if response.is_success else ():
                    file.write(chunk)
        return part.finish()


class AsyncClient:
    """`Client`, with methods to await."""

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(api_key), timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        return _checked(await self._http.get("/models")).json()["models"]

    async def classify(
        self, model: str, pictures: Iterable[Picture], top_k: int = 3, version: int | None = None
    ) -> list[Prediction]:
        path = _path("v1", model, version, "predict")
        return _predictions(_checked(await self._http.post(path, params={"top_k": top_k}, files=_form(pictures))))

    async def infer(self, model: str, images: np.ndarray, version: int | None = None) -> Outputs:
        content, headers = _binary(images)
        response = await self._http.post(_path("v2", model, version, "infer"), content=content, headers=headers)
        return _outputs(_checked(response))

    async def download(self, model: str, path: str | os.PathLike[str], version: int | None = None) -> Path:
        part = _Part(Path(path))
        async with self._http.stream("GET", _file(model, version), headers=part.headers()) as response:
            if response.is_error:
                await response.aread()
            with part.begin(response) as file:
                if response.is_success:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
        return part.finish()


class _Part:
    """A file on its way: `<path>.part`, beside the ETag of what it is a part of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.etag")

    def headers(self) -> dict[str, str]:
        if not (self._part.is_file() and self._note.is_file()):
            return {}
        return {"Range": f"bytes={self._part.stat().st_size}-", "If-Range": self._note.read_text()}

    def begin(self, response: httpx.Response) -> IO[bytes]:
        if response.status_code == 416:  # all of it was there already
            return self._part.open("ab")
        _checked(response)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._note.write_text(response.headers["etag"])
        return self._part.open("ab" if response.status_code == 206 else "wb")

    def finish(self) -> Path:
        expected = self._note.read_text().strip('"')
        with self._part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self._note.unlink()
        if found != expected:
            self._part.unlink()
            raise DownloadError(f"{self.path.name} has SHA-256 {found}: the service said {expected}. Try again")
        os.replace(self._part, self.path)
        return self.path


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def _path(protocol: str, model: str, version: int | None, action: str) -> str:
    return f"/{protocol}/models/{_address(model, version)}/{action}"


def _file(model: str, version: int | None) -> str:
    return f"/models/{_address(model, version)}.onnx"


def _address(model: str, version: int | None) -> str:
    return quote(model, safe="") + ("" if version is None else f"/versions/{version}")


def _form(pictures: Iterable[Picture]) -> list[tuple[str, tuple[str, bytes]]]:
    """Each picture as a part of a form. Raises OSError, naming the file, if one cannot be read."""
    if isinstance(pictures, str | bytes | os.PathLike):
        raise TypeError("pictures is a list of them, even of one")
    pictures = list(pictures)
    if not pictures:
        raise ValueError("there are no pictures to classify")
    return [
        ("file", (f"picture {n}", one) if isinstance(one, bytes) else (Path(one).name, Path(one).read_bytes()))
        for n, one in enumerate(pictures)
    ]


def _binary(images: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """Images as the body and header of an inference request with binary tensors."""
    if images.dtype != np.uint8:
        raise TypeError(f"the images are {images.dtype}: expected uint8, raw pixels 0-255")
    parameters = {"binary_data_size": images.nbytes}
    tensor = {"name": INPUT, "datatype": "UINT8", "shape": list(images.shape), "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + images.tobytes(), {HEADER_LENGTH: str(len(head))}


def _outputs(response: httpx.Response) -> Outputs:
    length = int(response.headers[HEADER_LENGTH])
    arrays, at = {}, length
    for output in json.loads(response.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        arrays[output["name"]] = np.frombuffer(response.content[at : at + size], "<f4").reshape(output["shape"])
        at += size
    return Outputs(arrays[LOGITS], arrays[PROBABILITIES])


def _predictions(response: httpx.Response) -> list[Prediction]:
    return [
        Prediction(p["file"], tuple((c["label"], c["probability"]) for c in p.get("classes", ())), p.get("error"))
        for p in response.json()["predictions"]
    ]


def _checked(response: httpx.Response) -> httpx.Response:
    """The response, if it is no error; else its words are raised."""
    if not response.is_error:
        return response
    try:
        body = response.json()
        raise ServiceError(response.status_code, body["code"], body["error"], body["request_id"])
    except (ValueError, KeyError, TypeError):
        raise ServiceError(response.status_code, "unknown", response.text[:500] or response.reason_phrase) from None
