"""The BentoML service: `bentoml serve cnnzoo.serve.service:ZooService`, or `python -m cnnzoo.serve`."""

from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument, NotFound
from bentoml.validators import DType
from pydantic import Field

from .errors import ApiError, ErrorFormat
from .limits import DEADLINE, MAX_IMAGES, BodyLimit, Deadline
from .routes import create_app
from .routes.find import find
from .routes.predict import top_classes
from .zoo import Zoo, zoo_dir

app = create_app()


@bentoml.service(name="cnnzoo", http={"host": "127.0.0.1"}, traffic={"timeout": 10 * DEADLINE})
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
        images: Annotated[np.ndarray, DType("uint8")],
        version: int | None = None,
        top_k: Annotated[int, Field(ge=1)] = 3,
    ) -> list[list[dict[str, Any]]]:
        """The likeliest classes of images [N, C, H, W], raw pixels 0-255, that have the network's size."""
        try:
            chosen = find(self.zoo, model, None if version is None else str(version))
        except ApiError as error:
            raise NotFound(str(error)) from None
        shape = chosen.card.input_shape
        if images.shape[1:] != shape or not 1 <= len(images) <= MAX_IMAGES:
            raise InvalidArgument(
                f"images have the shape {list(images.shape)}: expected [N, {', '.join(map(str, shape))}] "
                f"with N from 1 to {MAX_IMAGES}"
            )
        _, probabilities = chosen.session.run(images)
        return top_classes(chosen.card, probabilities, top_k)


service: Any = ZooService  # the decorator made it a bentoml.Service, which its types do not say
service.mount_asgi_app(app)
service.add_asgi_middleware(ErrorFormat)
service.add_asgi_middleware(Deadline)
service.add_asgi_middleware(BodyLimit)
