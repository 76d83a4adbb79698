"""Python client of the service. It needs httpx, NumPy and `cnnzoo.contract` alone.

    with Client("http://127.0.0.1:3000") as client:
        client.classify("mnist_cnn", ["seven.png"])[0].label        # "7"
        client.infer("mnist_cnn", pixels)                           # pixels: uint8 [N, C, H, W]
        client.download("mnist_cnn", "mnist_cnn.onnx")              # verified, and resumed after an interruption

`AsyncClient` has the same methods as coroutines.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from ..contract.image_files import readable
from ..contract.names import HEADER_LENGTH, INPUT, UNFAMILIAR
from .answers import Outputs, Prediction, read_drops, read_outputs, read_predictions, read_values
from .downloads import NOT_SATISFIABLE, Download, DownloadError  # noqa: F401 - DownloadError is for users

ImageFile = str | os.PathLike[str] | bytes  # a path, or the content of a PNG or JPEG
T = TypeVar("T")


class ServiceError(Exception):
    """An error response of the service.

    Args:
        status: HTTP status.
        code: the error's name for programs.
        request_id: identifies the request in the service's log.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class Client:
    """HTTP client of the service.

    Args:
        url: of the service, such as http://127.0.0.1:3000.
        api_key: the service's API key, if it has one.
        timeout: in seconds, for each request.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """Return every version of every model: classes, metrics, size, SHA-256, links."""
        return self._send(_Call("GET", "/models", lambda response: response.json()["models"]))

    def classify(
        self,
        model: str,
        images: Iterable[ImageFile],
        top_k: int = 3,
        version: int | None = None,
        min_familiarity: float = UNFAMILIAR,
    ) -> list[Prediction]:
        """Return the most probable classes of PNG or JPEG files, in order.

        An image that fails to decode gets `error`. Raises ServiceError if all images fail.

        Args:
            images: paths, or contents of files.
            top_k: number of classes to return for each image.
            version: the newest by default.
            min_familiarity: 0-1; an image below it is `unfamiliar`.
        """
        return self._send(_classify(model, images, top_k, version, min_familiarity))

    def layers(self, model: str, version: int | None = None) -> list[dict[str, Any]]:
        """Return the layers of a model's file, from the pixels to the probabilities."""
        return self._send(_layers(model, version))

    def inspect(
        self, model: str, image: ImageFile, layers: Sequence[str] = (), version: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return the values of layers, float32 [depth, height, width], for a PNG or JPEG file; of all by default."""
        return self._send(_inspect(model, image, layers, version))

    def explain(self, model: str, image: ImageFile, label: str | None = None, version: int | None = None) -> np.ndarray:
        """Return how much the probability of a class drops where a square covers the image, float32 [rows, columns].

        Args:
            label: of the class, or its number; by default the most probable one.
        """
        return self._send(_explain(model, image, label, version))

    def infer(self, model: str, images: np.ndarray, version: int | None = None) -> Outputs:
        """Return the network's outputs for images uint8 [N, C, H, W] of the network's size, raw pixels 0-255."""
        return self._send(_infer(model, images, version))

    def download(self, model: str, path: str | os.PathLike[str], version: int | None = None) -> Path:
        """Download the model's ONNX file to `path`, and return the path.

        Resumes an interrupted download. Raises DownloadError if the SHA-256 is wrong; `path` is not written then.
        """
        with Download(Path(path)) as download:
            with self._http.stream(
                "GET", f"/models/{_versioned(model, version)}.onnx", headers=download.headers()
            ) as response:
                if not response.is_success and response.status_code != NOT_SATISFIABLE:
                    response.read()
                    raise_for_error(response)
                if download.begin(response.status_code, response.headers):
                    for chunk in response.iter_bytes():
                        download.write(chunk)
            return download.finish()

    def _send(self, call: "_Call[T]") -> T:
        return call.read(raise_for_error(self._http.request(call.method, call.url, **call.options)))


class AsyncClient:
    """The methods of `Client` as coroutines."""

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """See `Client.close`."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """See `Client.models`."""
        return await self._send(_Call("GET", "/models", lambda response: response.json()["models"]))

    async def classify(
        self,
        model: str,
        images: Iterable[ImageFile],
        top_k: int = 3,
        version: int | None = None,
        min_familiarity: float = UNFAMILIAR,
    ) -> list[Prediction]:
        """See `Client.classify`."""
        return await self._send(_classify(model, images, top_k, version, min_familiarity))

    async def layers(self, model: str, version: int | None = None) -> list[dict[str, Any]]:
        """See `Client.layers`."""
        return await self._send(_layers(model, version))

    async def inspect(
        self, model: str, image: ImageFile, layers: Sequence[str] = (), version: int | None = None
    ) -> dict[str, np.ndarray]:
        """See `Client.inspect`."""
        return await self._send(_inspect(model, image, layers, version))

    async def explain(
        self, model: str, image: ImageFile, label: str | None = None, version: int | None = None
    ) -> np.ndarray:
        """See `Client.explain`."""
        return await self._send(_explain(model, image, label, version))

    async def infer(self, model: str, images: np.ndarray, version: int | None = None) -> Outputs:
        """See `Client.infer`."""
        return await self._send(_infer(model, images, version))

    async def download(self, model: str, path: str | os.PathLike[str], version: int | None = None) -> Path:
        """See `Client.download`."""
        with Download(Path(path)) as download:
            async with self._http.stream(
                "GET", f"/models/{_versioned(model, version)}.onnx", headers=download.headers()
            ) as response:
                if not response.is_success and response.status_code != NOT_SATISFIABLE:
                    await response.aread()
                    raise_for_error(response)
                if download.begin(response.status_code, response.headers):
                    async for chunk in response.aiter_bytes():
                        download.write(chunk)
            return download.finish()

    async def _send(self, call: "_Call[T]") -> T:
        return call.read(raise_for_error(await self._http.request(call.method, call.url, **call.options)))


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and the function that reads its response."""

    method: str
    url: str
    read: Callable[[httpx.Response], T]
    options: dict[str, Any] = field(default_factory=dict)


def _classify(
    model: str, images: Iterable[ImageFile], top_k: int, version: int | None, min_familiarity: float
) -> _Call[list[Prediction]]:
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError("images is a single image: expected a list, even of one image")
    parts = [
        ("file", (f"image {n}", one) if isinstance(one, bytes) else (readable(Path(one).name), Path(one).read_bytes()))
        for n, one in enumerate(images)
    ]
    if not parts:
        raise ValueError("images is empty: expected at least one image")
    url = f"/v1/models/{_versioned(model, version)}/predict"
    params = {"top_k": top_k, "min_familiarity": min_familiarity}
    return _Call("POST", url, read_predictions, {"params": params, "files": parts})


def _layers(model: str, version: int | None) -> _Call[list[dict[str, Any]]]:
    return _Call("GET", f"/models/{_versioned(model, version)}/layers", lambda response: response.json()["layers"])


def _inspect(model: str, image: ImageFile, layers: Sequence[str], version: int | None) -> _Call[dict[str, np.ndarray]]:
    if isinstance(layers, str):
        raise TypeError("layers is a single name: expected a list, even of one name")
    params = {"format": "binary", **({"layers": ",".join(layers)} if layers else {})}
    url = f"/v1/models/{_versioned(model, version)}/inspect"
    return _Call("POST", url, read_values, {"params": params, **_one_image(image)})


def _explain(model: str, image: ImageFile, label: str | None, version: int | None) -> _Call[np.ndarray]:
    url, params = f"/v1/models/{_versioned(model, version)}/explain", {} if label is None else {"class": label}
    return _Call("POST", url, read_drops, {"params": params, **_one_image(image)})


def _one_image(image: ImageFile) -> dict[str, Any]:
    content = image if isinstance(image, bytes) else Path(image).read_bytes()
    kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return {"content": content, "headers": {"Content-Type": kind}}


def _infer(model: str, images: np.ndarray, version: int | None) -> _Call[Outputs]:
    if images.dtype != np.uint8:
        raise TypeError(f"the images are {images.dtype}: expected uint8, raw pixels 0-255")
    parameters = {"binary_data_size": images.nbytes}
    tensor = {"name": INPUT, "datatype": "UINT8", "shape": list(images.shape), "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    url = f"/v2/models/{_versioned(model, version)}/infer"
    headers = {HEADER_LENGTH: str(len(head))}
    return _Call("POST", url, read_outputs, {"content": head + images.tobytes(), "headers": headers})


def _versioned(model: str, version: int | None) -> str:
    return quote(model, safe="") + ("" if version is None else f"/versions/{version}")


def raise_for_error(response: httpx.Response) -> httpx.Response:
    """Return a successful response. Raises ServiceError for any other."""
    if response.is_success:
        return response
    try:
        body = response.json()
        raise ServiceError(response.status_code, body["code"], body["error"], body["request_id"])
    except (ValueError, KeyError, TypeError):
        raise ServiceError(response.status_code, "unknown", response.text[:500] or response.reason_phrase) from None
