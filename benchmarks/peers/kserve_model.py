"""KServe's Python server with a custom model."""

import logging
from functools import cached_property
from typing import Any

import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.model_server import args
from kserve.utils.utils import generate_uuid
from network import Network


class Classifier(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        if args.workers == 1:
            _ = self.network
        self.ready = True
        return True

    @cached_property
    def network(self) -> Network:
        """The session. Workers receive this object pickled, which a session cannot be, so each loads its own."""
        return Network()

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None, **_: Any) -> InferResponse:
        probabilities = self.network(payload.inputs[0].as_numpy())
        output = InferOutput("probabilities", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities, binary_data=payload.use_binary_outputs)
        return InferResponse(
            payload.id or generate_uuid(),
            self.name,
            [output],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


class Loopback(uvicorn.Config):
    """Uvicorn settings: KServe has no option to listen on loopback or to switch off the access log."""

    def __init__(self, app: Any, host: str, **options: Any) -> None:
        super().__init__(app, "127.0.0.1", access_log=False, **options)


if __name__ == "__main__":
    uvicorn.Config = Loopback
    server = ModelServer()
    logging.getLogger("kserve.trace").disabled = True  # two lines a request
    server.start([Classifier(args.model_name)])
