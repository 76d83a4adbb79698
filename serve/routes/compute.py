"""Compute a model's outputs for a request."""

import numpy as np

from ...contract.names import ContractError
from ..batcher import Outputs, QueueFull
from ..errors import ApiError
from ..model import Model, NotFinite
from ..session import WrongRows


async def compute(model: Model, images: np.ndarray, inline: bool = True) -> Outputs:
    """Return the outputs in `model.card.outputs` of uint8 images [N, C, H, W], float32, one row an image.

    Args:
        inline: they may be computed on the event loop, as in `Batcher`.

    Raises ApiError 429 if the model's queue is full, 503 if the model can no longer be loaded, 500 if its answer is not
    a number, or has not one row an image.
    """
    try:
        return await model.batcher(images, inline)
    except QueueFull:
        message = f"{model.batcher.queued} images wait for {model.card.name} already: try again in a second"
        raise ApiError(429, "busy", message) from None
    except WrongRows as error:
        raise ApiError(500, "rows", f"{model.card.name} cannot be used: {error}") from None
    except ContractError as error:
        raise not_loaded(model, error) from None
    except NotFinite as error:
        message = f"{model.card.name} gives no finite {error} for this image: export it again"
        raise ApiError(500, "not_finite", message) from None


def not_loaded(model: Model, error: ContractError) -> ApiError:
    """Return the answer for a model whose file can no longer be loaded."""
    message = f"{model.card.name} {model.card.version} cannot be loaded: {error}"
    return ApiError(503, "not_loaded", message, {"Retry-After": "5"})
