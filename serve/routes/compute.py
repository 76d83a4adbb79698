"""A network's outputs for a request, and what can come in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from starlette.requests import Request

from ..batcher import Outputs, QueueFull
from ..contract import ContractError
from ..errors import ApiError
from ..model import Model

PATIENCE = 0.25  # seconds after which it is looked whether the client still waits


async def compute(request: Request, model: Model, images: np.ndarray) -> Outputs:
    """Logits and probabilities, float32 [N, classes], of uint8 images [N, C, H, W].

    ApiError 429 if too many images wait already, 503 if the network cannot be loaded any more.
    """
    try:
        async with _given_up_when_client_is_gone(request):
            return await model.infer(images)
    except QueueFull:
        message = f"{model.infer.queued} images wait for {model.card.name} already: try again in a second"
        raise ApiError(429, "busy", message, retry_after=1) from None
    except ContractError as error:
        message = f"{model.card.name} {model.card.version} cannot be loaded: {error}"
        raise ApiError(503, "not_loaded", message, retry_after=5) from None


@asynccontextmanager
async def _given_up_when_client_is_gone(request: Request) -> AsyncIterator[None]:
    """Cancels what is done within for a client that has closed the connection: it leaves the queue.

    Only the slow ones are watched, since most are answered before a task for watching would have started.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def start() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(PATIENCE, start)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ApiError(400, "client_gone", "the client closed the connection before the answer") from None
    finally:
        timer.cancel()
        if watcher:
            watcher.cancel()
