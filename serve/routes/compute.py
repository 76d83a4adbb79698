"""A network's outputs for a request, and what can come in between."""

import asyncio

import numpy as np
from starlette.types import Receive

from ...contract.names import ContractError
from ..batcher import Item, Outputs, QueueFull
from ..errors import ApiError
from ..model import Model

PATIENCE = 0.25  # seconds after which it is looked whether the client still waits


async def compute(receive: Receive, model: Model, images: np.ndarray) -> Outputs:
    """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W].

    `receive` is the request's, whose body has been read: it tells when the client is gone.
    ApiError 429 if too many images wait already, 503 if the network cannot be loaded any more.
    """
    try:
        item = model.infer.submit(images)
    except QueueFull:
        message = f"{model.infer.queued} images wait for {model.card.name} already: try again in a second"
        raise ApiError(429, "busy", message, retry_after=1) from None
    watcher = _Watcher(receive, item)
    # Most are answered before a task for watching would have started.
    timer = asyncio.get_running_loop().call_later(PATIENCE, watcher.start)
    try:
        return await model.infer.wait(item)
    except asyncio.CancelledError:
        if not watcher.gone:
            raise
        raise ApiError(400, "client_gone", "the client closed the connection before the answer") from None
    except ContractError as error:
        message = f"{model.card.name} {model.card.version} cannot be loaded: {error}"
        raise ApiError(503, "not_loaded", message, retry_after=5) from None
    finally:
        timer.cancel()
        watcher.stop()


class _Watcher:
    """Cancels what waits in a queue for a client that has closed the connection."""

    def __init__(self, receive: Receive, item: Item) -> None:
        self.gone = False
        self._receive = receive
        self._item = item
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._item.outputs.cancel()
