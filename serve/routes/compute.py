"""A network's outputs for a request, and what can come in between."""

import asyncio
from types import TracebackType

import numpy as np
from starlette.types import Receive

from ..batcher import Outputs, QueueFull
from ..contract import ContractError
from ..errors import ApiError
from ..model import Model

PATIENCE = 0.25  # seconds after which it is looked whether the client still waits


async def compute(receive: Receive, model: Model, images: np.ndarray) -> Outputs:
    """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W].

    `receive` is the request's, whose body has been read: it tells when the client is gone.
    ApiError 429 if too many images wait already, 503 if the network cannot be loaded any more.
    """
    try:
        with _WhileClientWaits(receive):
            return await model.infer(images)
    except QueueFull:
        message = f"{model.infer.queued} images wait for {model.card.name} already: try again in a second"
        raise ApiError(429, "busy", message, retry_after=1) from None
    except ContractError as error:
        message = f"{model.card.name} {model.card.version} cannot be loaded: {error}"
        raise ApiError(503, "not_loaded", message, retry_after=5) from None


class _WhileClientWaits:
    """Gives up what is done within for a client that has closed the connection: it leaves the queue.

    Only the slow ones are watched, since most are answered before a task for watching would have started.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._start)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task:
            self._task.uncancel()
            raise ApiError(400, "client_gone", "the client closed the connection before the answer") from None

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task:
            self._task.cancel()
