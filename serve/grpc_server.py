"""gRPC server of the Open Inference Protocol beside HTTP: the same models, queues, limits, API key and metrics.

The messages are those of tritonclient, generated from github.com/kserve/open-inference-protocol. Needs the extra grpc.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from starlette.applications import Starlette
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from ..contract import __version__
from ..contract.names import FAMILIARITY, INPUT
from .errors import ApiError
from .model import Model
from .routes.compute import compute
from .routes.lookup import find
from .routes.protocol import EXTENSIONS
from .tensors import answer_of, read_object

logger = logging.getLogger("cnnzoo.serve")

SERVICE = "inference.GRPCInferenceService"
MAX_MESSAGE = 4 * 2**20  # bytes of a request; gRPC's own default
OPEN = ("ServerLive", "ServerReady")  # health probes have no key
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
INTEGERS = ("uint_contents", "int_contents", "uint64_contents", "int64_contents")

Context = Any  # grpc.aio.ServicerContext, which is published without types
Method = Callable[["Inference", Any, Context], Awaitable[Any]]


@asynccontextmanager
async def grpc_server(app: Starlette) -> AsyncIterator[None]:
    """Serve while the context lasts. At its end calls in flight have the settings' timeout to finish."""
    settings = app.state.settings
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.max_requests,
        options=[("grpc.max_receive_message_length", min(MAX_MESSAGE, settings.max_body))],
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(app), server)
    probe = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(probe, server)
    for name in ("", SERVICE):
        await probe.set(name, health_pb2.HealthCheckResponse.SERVING)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.add_insecure_port(f"{host}:{settings.grpc_port}")  # with several workers, all listen on it
    await server.start()
    yield
    await probe.enter_graceful_shutdown()
    await server.stop(settings.timeout)


def _method(function: Method) -> Method:
    """Check the API key, limit time and bytes, turn errors into gRPC's, and count the call."""
    name = function.__name__

    async def call(self: "Inference", request: Any, context: Context) -> Any:
        start, status = time.perf_counter(), 200
        size = request.ByteSize()
        self.metrics.in_flight += 1
        self.held += size
        try:
            self._check_key(name, context)
            if self.held > self.settings.max_held:
                raise ApiError(503, "overloaded", "the service holds as many bytes as it can: try again in a second")
            async with asyncio.timeout(self.settings.timeout):
                return await function(self, request, context)
        except (ApiError, TimeoutError) as error:
            status = error.status if isinstance(error, ApiError) else 504
            words = str(error) or f"no answer within {self.settings.timeout:g} seconds: send fewer images"
            await context.abort(STATUS.get(status, grpc.StatusCode.INVALID_ARGUMENT), words)
        except asyncio.CancelledError:  # by the client
            status = 499
            raise
        except Exception:
            status = 500
            logger.exception("gRPC %s failed", name)
            await context.abort(grpc.StatusCode.INTERNAL, "the server failed on this request; its log says why")
        finally:
            self.held -= size
            self.metrics.in_flight -= 1
            model = self.app.state.zoo.get(getattr(request, "model_name", "") or getattr(request, "name", ""))
            route = f"grpc:{name}"
            self.metrics.count_request(route, model.card.name if model else "", status, time.perf_counter() - start)

    return call


class Inference(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated without types
    """The calls of the protocol. Triton's further ones are answered with UNIMPLEMENTED."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.settings = app.state.settings
        self.metrics = app.state.metrics
        self.held = 0  # bytes of the requests in flight

    @_method
    async def ServerLive(self, request: Any, context: Context) -> Any:
        """Answer that the process runs."""
        return pb.ServerLiveResponse(live=True)

    @_method
    async def ServerReady(self, request: Any, context: Context) -> Any:
        """Answer whether there is a model to serve."""
        return pb.ServerReadyResponse(ready=bool(self.app.state.zoo.models))

    @_method
    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        """Answer with the server's name, version and protocol extensions."""
        return pb.ServerMetadataResponse(name="cnnzoo", version=__version__, extensions=EXTENSIONS)

    @_method
    async def ModelReady(self, request: Any, context: Context) -> Any:
        """Answer whether a model exists."""
        self._find(request.name, request.version)
        return pb.ModelReadyResponse(ready=True)

    @_method
    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        """Answer with a model's versions, inputs and outputs."""
        card = self._find(request.name, request.version).card
        metadata = pb.ModelMetadataResponse(name=card.name, platform="onnxruntime_onnx")
        metadata.versions.extend(str(version) for version in sorted(self.app.state.zoo.versions(card.name)))
        metadata.inputs.add(name=INPUT, datatype="UINT8", shape=[-1, *card.input_shape])
        for name in card.outputs:
            metadata.outputs.add(
                name=name, datatype="FP32", shape=[-1] if name == FAMILIARITY else [-1, len(card.classes)]
            )
        return metadata

    @_method
    async def ModelInfer(self, request: Any, context: Context) -> Any:
        """Answer with the outputs asked for, in binary."""
        model = self._find(request.model_name, request.model_version)
        raw = request.raw_input_contents
        call = read_object(_object(request), raw[0] if len(raw) == 1 else b"", model.card)
        outputs = dict(zip(model.card.outputs, await compute(model, call.images), strict=True))
        response = pb.ModelInferResponse(
            model_name=model.card.name, model_version=str(model.card.version), id=request.id
        )
        for output in call.outputs:
            answer = answer_of(output, outputs[output.name], model.card)
            response.outputs.add(name=output.name, datatype=answer.datatype, shape=answer.shape)
            response.raw_output_contents.append(answer.packed())
        return response

    def _find(self, name: str, version: str) -> Model:
        return find(self.app.state.zoo, name, version or None)

    def _check_key(self, name: str, context: Context) -> None:
        key = self.settings.api_key
        if key is None or name in OPEN:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        scheme, _, rest = str(given).partition(" ")
        expected = key.get_secret_value().encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(rest.strip().encode("latin-1", "replace"), expected):
            raise ApiError(401, "unauthorized", "an API key is needed: send it as metadata authorization: Bearer <key>")


def _object(request: Any) -> dict[str, Any]:
    """Return the JSON object of the same request over HTTP. Raises ApiError 400 for tensors in more than one part."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise ApiError(400, "inputs", f"{len(request.inputs)} inputs have {len(raw)} raw contents: send one for each")
    inputs = []
    for number, tensor in enumerate(request.inputs):
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if "shared_memory_region" in tensor.parameters:
            entry["parameters"] = {"shared_memory_region": ""}
        elif raw:
            entry["parameters"] = {"binary_data_size": len(raw[number])}
        else:
            entry["data"] = next((list(values) for kind in INTEGERS if (values := getattr(tensor.contents, kind))), [])
        inputs.append(entry)
    outputs = [
        {"name": output.name, "parameters": {"classification": output.parameters["classification"].int64_param}}
        if "classification" in output.parameters
        else {"name": output.name}
        for output in request.outputs
    ]
    return {"inputs": inputs, "outputs": outputs}
