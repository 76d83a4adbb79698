"""The BentoML service: `bentoml serve cnnzoo.serve.service:ZooService`, or `python -m cnnzoo.serve`."""

from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument, NotFound
from pydantic import Field

from .errors import ApiError, ErrorFormat
from .limits import DEADLINE, BodyLimit, Deadline, OnlyJSON
from .pixels import PixelError, check_shape, to_uint8
from .routes import create_app
from .routes.find import find
from .routes.predict import top_classes
from .zoo import Zoo, zoo_dir

app = create_app()


# BentoML's metrics are off: they keep a series for every address ever asked for, which strangers choose.
@bentoml.service(
    name="cnnzoo",
    http={"host": "127.0.0.1"},
    traffic={"timeout": 10 * DEADLINE},
    metrics={"enabled": False},
)
class ZooService:
    """Image-classifying CNNs out of a zoo folder, loaded once a worker."""

    def __init__(self) -> None:
        self.zoo = Zoo(zoo_dir())
        app.state.zoo = self.zoo

    def __is_ready__(self) -> bool:
        return bool(self.zoo.models)

    @bentoml.api
    def classify(
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
            check_shape(list(images.shape), chosen.card)
            pixels = to_uint8(images)
        except PixelError as error:
            raise InvalidArgument(str(error)) from None
        _, probabilities = chosen.session.run(pixels)
        return top_classes(chosen.card, probabilities, top_k)


service: Any = ZooService  # the decorator made it a bentoml.Service, which its types do not say
service.mount_asgi_app(app)
service.add_asgi_middleware(ErrorFormat)
service.add_asgi_middleware(Deadline)
service.add_asgi_middleware(BodyLimit)
service.add_asgi_middleware(OnlyJSON, path="/classify")
