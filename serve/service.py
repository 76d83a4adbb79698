"""The BentoML service: `bentoml serve cnnzoo.serve.service:ZooService`, or `python -m cnnzoo.serve`."""

import asyncio
import logging
from http import HTTPStatus
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from pydantic import Field
from starlette.middleware.cors import CORSMiddleware

from ..contract.names import ContractError
from . import metrics
from .access import ApiKey
from .batcher import QueueFull
from .errors import ApiError, ErrorFormat
from .front import Front
from .garbage import keep_collecting
from .limits import BodyLimit, Deadline, OnlyJSON
from .model import Sessions
from .observe import Load, Observe
from .pixels import PixelError, check_shape, to_uint8
from .routes import create_router
from .routes.find import find
from .routes.predict import top_classes
from .settings import settings
from .tensors import HEADER_LENGTH
from .zoo import Zoo

logger = logging.getLogger("cnnzoo.serve")

options = settings()
load = Load()
_zoo: Zoo  # made by the worker, which alone serves it
logging.getLogger("uvicorn.access").propagate = False  # it would put lines together that nobody prints


class TooManyRequests(BentoMLException):
    error_code = HTTPStatus.TOO_MANY_REQUESTS


# BentoML's metrics are off: they keep a series for every address ever asked for, which strangers choose. So is its
# tracing, which nobody reads here and which takes as long as a small network. Its timeout only comes after Deadline's:
# a timer stays in memory for that long after each request.
@bentoml.service(
    name="cnnzoo",
    workers=options.workers,
    http={"host": options.host, "port": options.port},
    traffic={"timeout": options.timeout + 1},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
    logging={"access": {"enabled": False}},
)
class ZooService:
    """Image-classifying CNNs out of a zoo folder."""

    def __init__(self) -> None:
        sessions = Sessions(options.max_loaded, options.threads_a_worker, options.max_batch, options.max_queue)
        global _zoo
        self.zoo = _zoo = Zoo(options.zoo, sessions)

    @bentoml.on_startup
    async def begin(self) -> None:
        work = (_follow(self.zoo), _sample(self.zoo), keep_collecting(load.idle))
        self._tasks = [asyncio.create_task(one) for one in work]

    @bentoml.on_shutdown
    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    def __is_ready__(self) -> bool:
        return bool(self.zoo.models)

    @bentoml.api
    async def classify(
        self,
        model: Annotated[str, Field(max_length=64)],
        images: np.ndarray,
        version: int | None = None,
        top_k: Annotated[int, Field(ge=1, le=99999)] = 3,
    ) -> list[list[dict[str, Any]]]:
        """The likeliest classes of images [N, C, H, W], raw pixels 0-255, that have the network's size."""
        try:
            chosen = find(self.zoo, model, None if version is None else str(version))
        except ApiError as error:
            raise NotFound(str(error)) from None
        try:
            check_shape(list(images.shape), chosen.card.input_shape)
            pixels = to_uint8(images)
        except PixelError as error:
            raise InvalidArgument(str(error)) from None
        try:
            _, probabilities = await chosen.infer(pixels)
        except QueueFull:
            raise TooManyRequests(f"many images wait for {model} already: try again in a second") from None
        except ContractError as error:
            raise ServiceUnavailable(f"{model} {chosen.card.version} cannot be loaded: {error}") from None
        return top_classes(chosen.card, probabilities, top_k)


async def _follow(zoo: Zoo) -> None:
    """Keeps looking at the zoo folder; first at the files that there was no time for at the start."""
    while await asyncio.to_thread(zoo.check_one):
        pass
    while options.rescan:
        await asyncio.sleep(options.rescan)
        try:
            await asyncio.to_thread(zoo.rescan)
        except Exception:
            logger.exception("The zoo folder could not be looked at; its models are served as they were.")


async def _sample(zoo: Zoo) -> None:
    while True:
        queued: dict[str, int] = {}
        for model in zoo.models:
            queued[model.card.name] = queued.get(model.card.name, 0) + model.infer.queued
        metrics.sample(load.requests, queued)
        await asyncio.sleep(0.5)


service: Any = ZooService  # the decorator made it a bentoml.Service, which its types do not say
# In this order from the outside in.
service.add_asgi_middleware(Observe, load=load, log=options.log == "json")
if options.origins:
    service.add_asgi_middleware(
        CORSMiddleware, allow_origins=options.origins, allow_methods=["GET", "HEAD", "POST"], allow_headers=["*"],
        expose_headers=["ETag", "Repr-Digest", "Content-Disposition", "X-Request-ID", HEADER_LENGTH],
    )  # fmt: skip
service.add_asgi_middleware(ErrorFormat)  # within CORS: a page may read what was wrong
if options.api_key:
    service.add_asgi_middleware(ApiKey, key=options.api_key.get_secret_value())
service.add_asgi_middleware(Deadline, seconds=options.timeout)
service.add_asgi_middleware(BodyLimit, limit=options.max_body, held=options.max_held, requests=options.max_requests)
service.add_asgi_middleware(Front, routes=create_router(), zoo=lambda: _zoo)
service.add_asgi_middleware(OnlyJSON, path="/classify")  # of what is left for BentoML
