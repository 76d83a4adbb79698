"""gRPC server of the Open Inference Protocol beside HTTP: the same models, queues, limits, API key and metrics.

The messages are those of tritonclient, generated from github.com/kserve/open-inference-protocol. Needs the extra grpc.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from starlette.applications import Starlette
from tritonclient.grpc import service_pb2 as pb

from ..contract.card import ModelCard
from ..contract.names import INPUT
from .api_key import is_authorized
from .errors import ApiError
from .held import Held
from .image_arrays import check_shape
from .model import Model
from .routes.compute import compute
from .routes.lookup import find
from .routes.protocol import SERVER, describe
from .settings import ServeSettings, address_of
from .tensors import Call, answer_of, read_object
from .threads import in_thread
from .zoo import Zoo

logger = logging.getLogger("cnnzoo.serve")

SERVICE = "inference.GRPCInferenceService"
SMALL = 2**16  # bytes of a message that is read on the event loop: a thread would take longer
MAX_FIELDS = 64
MAX_MESSAGE = 4 * 2**20  # bytes of a request; gRPC's own default
MAX_WATCHERS = 64  # streams of the health protocol, which have no key
HEALTH_SECONDS = 1  # between two looks at the models for a stream of the health protocol
PROBE_SECONDS = 5  # for a message of the health protocol to arrive
OPEN = ("ServerLive", "ServerReady")  # health probes have no key
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
INTEGERS = ("uint_contents", "int_contents", "uint64_contents", "int64_contents")

Nested = dict[int, Any]
"""The nested messages of a message by the number of their field."""
NESTED: Nested = {5: {4: {}, 5: {}}, 6: {2: {}}}  # inputs with parameters and contents, outputs with parameters

Context = Any  # grpc.aio.ServicerContext, which is published without types
Method = Callable[["Inference", Any, Context], Awaitable[Any]]


@asynccontextmanager
async def grpc_server(app: Starlette) -> AsyncIterator[None]:
    """Serve while the context lasts. At its end calls in flight have the settings' timeout to finish.

    Raises OSError if the port is taken.
    """
    settings = app.state.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", _largest(settings)),
            ("grpc.so_reuseport", int(settings.workers > 1)),  # else a second service could share the port unnoticed
        ],
    )
    health = Health(app.state.zoo)
    server.add_generic_rpc_handlers([_handlers(Inference(app)), health.handlers()])
    address = address_of(settings.host, settings.grpc_port)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise OSError(f"cannot listen on {address}: choose another CNNZOO_GRPC_PORT") from None
    await server.start()
    try:
        yield
    finally:
        health.stopping.set()
        await server.stop(settings.timeout)


class Health:
    """gRPC's health protocol: SERVING while there is a model. At a stop it ends its streams, which are waited for."""

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.stopping = asyncio.Event()
        self.watchers = 0

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the calls by name. Each begins before its message arrives, as those of `Inference`."""
        write = health_pb2.HealthCheckResponse.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self.check, response_serializer=write),
            "Watch": grpc.stream_stream_rpc_method_handler(self.watch, response_serializer=write),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    async def check(self, _: object, context: Context) -> Any:
        """Answer with the status now."""
        service = await self._asked(context)
        if service not in ("", SERVICE):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no such service: expected {SERVICE}")
        return self._answer(service)

    async def watch(self, _: object, context: Context) -> AsyncIterator[Any]:
        """Answer with the status now and after each change."""
        if self.watchers >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"there are {MAX_WATCHERS} streams already")
        self.watchers += 1
        context.add_done_callback(self._ended)
        service = await self._asked(context)
        told = None
        while True:
            answer = self._answer(service)
            if answer != told:
                yield answer
                told = answer
            if self.stopping.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), HEALTH_SECONDS)

    async def _asked(self, context: Context) -> str:
        """Return the service that the call's message names."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                content = await context.read()
            if content is grpc.aio.EOF:
                raise DecodeError
            check_fields(memoryview(content), {})
            return str(health_pb2.HealthCheckRequest.FromString(content).service)
        except (ApiError, DecodeError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is no HealthCheckRequest")
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message within {PROBE_SECONDS} seconds")
        raise AssertionError("abort raises")

    def _ended(self, _: Context) -> None:
        self.watchers -= 1

    def _answer(self, service: str) -> Any:
        response = health_pb2.HealthCheckResponse
        if service not in ("", SERVICE):
            return response(status=response.SERVICE_UNKNOWN)
        serves = self.zoo.models and not self.stopping.is_set()
        return response(status=response.SERVING if serves else response.NOT_SERVING)


def _largest(settings: ServeSettings) -> int:
    """Return the bytes that a message may have."""
    return min(MAX_MESSAGE, settings.max_body)


def _handlers(inference: "Inference") -> grpc.GenericRpcHandler:
    """Return the calls by name.

    Each begins before its one message arrives: nothing is read for a client without the key, and the time limit holds
    for the message, too.
    """
    methods = {
        name: grpc.stream_unary_rpc_method_handler(
            getattr(inference, name), response_serializer=lambda message: message.SerializeToString()
        )
        for name in vars(Inference)
        if not name.startswith("_")
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _method(function: Method) -> Method:
    """Check the API key, limit time and bytes, parse the message, turn errors into gRPC's, and count the call."""
    name = function.__name__
    message_type = getattr(pb, f"{name}Request")

    async def call(self: "Inference", _: object, context: Context) -> Any:
        start, status, model, words = time.perf_counter(), 200, "", ""
        if name in OPEN:  # its message, which is empty, is not awaited: a stranger could hold any number of such calls
            self._metrics.count_request(f"grpc:{name}", model, status, time.perf_counter() - start)
            return await function(self, message_type(), context)
        self._metrics.in_flight += 1
        try:
            self._check_key(context)
            self._calls += 1
            context.add_done_callback(self._ended)
            if self._calls > self._settings.max_requests:
                raise ApiError(429, "overloaded", "there are as many calls as the service takes: try again in a second")
            async with asyncio.timeout(self._settings.timeout):
                content = await context.read()
                if content is grpc.aio.EOF:
                    raise DecodeError
                with self._held.add(len(content)):
                    if message_type is pb.ModelInferRequest:
                        check_fields(memoryview(content), NESTED)
                    request = message_type.FromString(content)
                    named = getattr(request, "model_name", "") or getattr(request, "name", "")
                    model = named if self._zoo.get(named) else ""
                    return await function(self, request, context)
        except DecodeError:
            status, words = 400, f"the message is no {name}Request"
        except ApiError as error:
            status, words = error.status, str(error)
        except TimeoutError:
            words = f"not received and answered within {self._settings.timeout:g} seconds: send fewer images"
            status = 504
        except asyncio.CancelledError:  # by the client
            status = 499
            raise
        except Exception:
            status, words = 500, "the server failed on this request; its log says why"
            logger.exception("gRPC %s failed", name)
        finally:
            self._metrics.in_flight -= 1
            self._metrics.count_request(f"grpc:{name}", model, status, time.perf_counter() - start)
        await context.abort(STATUS.get(status, grpc.StatusCode.INVALID_ARGUMENT), words)

    return call


class Inference:
    """The calls of the protocol. Triton's further ones are answered with UNIMPLEMENTED."""

    def __init__(self, app: Starlette) -> None:
        self._zoo = app.state.zoo
        self._settings = app.state.settings
        self._metrics = app.state.metrics
        self._calls = 0  # with the key, until their answers are sent: a client may not read them
        self._held = Held(self._settings.max_held, "messages")

    @_method
    async def ServerLive(self, request: Any, context: Context) -> Any:
        """Answer that the process runs."""
        return pb.ServerLiveResponse(live=True)

    @_method
    async def ServerReady(self, request: Any, context: Context) -> Any:
        """Answer whether there is a model to serve."""
        return pb.ServerReadyResponse(ready=bool(self._zoo.models))

    @_method
    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        """Answer with the server's name, version and protocol extensions."""
        return pb.ServerMetadataResponse(**SERVER)

    @_method
    async def ModelReady(self, request: Any, context: Context) -> Any:
        """Answer whether a model exists."""
        self._find(request.name, request.version)
        return pb.ModelReadyResponse(ready=True)

    @_method
    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        """Answer with a model's versions, inputs and outputs."""
        card = self._find(request.name, request.version).card
        return pb.ModelMetadataResponse(**describe(self._zoo, card))

    @_method
    async def ModelInfer(self, request: Any, context: Context) -> Any:
        """Answer with the outputs asked for, in binary."""
        model = self._find(request.model_name, request.model_version)
        read = partial(_read, request, model.card)
        call = read() if request.ByteSize() <= SMALL else await in_thread(read)
        # gRPC hands over one call at a time: on the event loop, each would be a batch of its own.
        outputs = await compute(model, call.images, inline=self._calls == 1)
        results = dict(zip(model.card.outputs, outputs, strict=True))
        response = pb.ModelInferResponse(
            model_name=model.card.name, model_version=str(model.card.version), id=request.id
        )
        for output in call.outputs:
            answer = answer_of(output, results[output.name], model.card)
            response.outputs.add(name=output.name, datatype=answer.datatype, shape=answer.shape)
            response.raw_output_contents.append(answer.packed())
        return response

    def _ended(self, _: Context) -> None:
        self._calls -= 1

    def _find(self, name: str, version: str) -> Model:
        return find(self._zoo, name, version or None)

    def _check_key(self, context: Context) -> None:
        key = self._settings.api_key
        if key is None:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not is_authorized(str(given), key.get_secret_value()):
            raise ApiError(401, "unauthorized", "an API key is needed: send it as metadata authorization: Bearer <key>")


def _read(request: Any, card: ModelCard) -> Call:
    """Return the call in a message. Raises ApiError 400 with what was wrong and what was expected."""
    raw = request.raw_input_contents
    if len(request.inputs) != 1 or len(raw) > 1:
        raise ApiError(
            400, "inputs", f"{len(request.inputs)} inputs, {len(raw)} raw contents: send one, named {INPUT!r}"
        )
    (tensor,) = request.inputs
    entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if "shared_memory_region" in tensor.parameters:
        entry["parameters"] = {"shared_memory_region": ""}
    elif len(raw) + len(filled) != 1 or not {*filled} <= {*INTEGERS}:
        expected = "send the pixels in raw_input_contents or in contents.uint_contents, in one of them"
        raise ApiError(400, "inputs", f"the tensor has {', '.join(filled) or 'no contents'}: {expected}")
    elif raw:
        check_shape(entry["shape"], card.input_shape)
        if len(raw[0]) != math.prod(tensor.shape):
            raise ApiError(400, "binary_size", f"{len(raw[0])} bytes for the shape {list(tensor.shape)}")
        entry["parameters"] = {"binary_data_size": len(raw[0])}
    else:
        entry["data"] = list(getattr(tensor.contents, filled[0]))
    outputs = [{"name": output.name, "parameters": _parameters(output)} for output in request.outputs]
    return read_object({"inputs": [entry], "outputs": outputs, "id": request.id}, raw[0] if raw else b"", card)


def _parameters(output: Any) -> dict[str, int]:
    """Return the parameters of an output: `classification`, if any. Raises ApiError 400 for another one."""
    for name, value in output.parameters.items():
        if name != "classification" or value.WhichOneof("parameter_choice") != "int64_param":
            raise ApiError(
                400, "outputs", f"an output has the parameter {name[:64]!r}: expected classification, an int64"
            )
    return {name: value.int64_param for name, value in output.parameters.items()}


def check_fields(message: memoryview, nested: Nested, left: int = MAX_FIELDS) -> int:
    """Count the fields of a message and of those nested in it, and return how many of `left` remain.

    Raises ApiError 400 if there are more, or if the message is damaged. To parse millions of empty fields takes a
    hundred times their bytes.
    """
    position = 0
    try:
        while position < len(message):
            tag, position = _varint(message, position)
            length, wire = 0, tag & 7
            if wire == 0:
                _, position = _varint(message, position)
            elif wire == 2:
                length, position = _varint(message, position)
                if (inner := nested.get(tag >> 3)) is not None:
                    left = check_fields(message[position : position + length], inner, left)
            else:
                length = {1: 8, 5: 4}[wire]
            position += length
            left -= 1
            if left < 0:
                raise ApiError(400, "fields", f"the message has more than {MAX_FIELDS} fields: send one tensor")
        if position > len(message):
            raise IndexError
    except (IndexError, KeyError):
        raise ApiError(400, "message", "the message is damaged") from None
    return left


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number of variable length at a position, and the position behind it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise IndexError
