"""Test gRPC with the clients of Triton and of gRPC's health protocol: answers, limits and errors as over HTTP."""

import asyncio
import os
import queue
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
import torch
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from helpers import free_port, listening, running, serve
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from cnnzoo.serve.app import create_app
from cnnzoo.serve.batcher import INLINE_SECONDS, Outputs
from cnnzoo.serve.errors import ApiError
from cnnzoo.serve.grpc_server import NESTED, check_fields
from cnnzoo.serve.model import Model
from cnnzoo.serve.settings import read_settings

KEY = "secret"
Service = tuple[triton.InferenceServerClient, httpx.Client, Any]


@pytest.fixture(scope="module")
def service(trained: Path) -> Iterator[Service]:
    """Return clients of one service: Triton's, one for HTTP, and gRPC's bare stub."""
    port = free_port()
    with (
        listening(trained / "zoo", grpc_port=port) as http,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        wait_for(port)
        yield client, http, service_pb2_grpc.GRPCInferenceServiceStub(channel)


def wait_for(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(30)


def tensor(images: np.ndarray) -> triton.InferInput:
    found = triton.InferInput("images", list(images.shape), "UINT8")
    found.set_data_from_numpy(images)
    return found


@pytest.fixture
def images(digits: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    return digits[0][:5].numpy()


def test_server_and_models(service: Service, trained: Path):
    client, http, _ = service
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits_cnn")
    assert client.is_model_ready("digits_cnn", "1")
    server = client.get_server_metadata(as_json=True)
    assert server == http.get("/v2").json()
    found = client.get_model_metadata("digits_cnn", as_json=True)
    for entry in (*found["inputs"], *found["outputs"]):
        entry["shape"] = [int(size) for size in entry["shape"]]
    assert found == http.get("/v2/models/digits_cnn").json()


def test_the_same_answers_as_over_http(service: Service, images: np.ndarray):
    client, http, _ = service
    over_grpc = client.infer("digits_cnn", [tensor(images)], request_id="five")
    sent = triton_http.InferInput("images", list(images.shape), "UINT8")
    sent.set_data_from_numpy(images)
    with triton_http.InferenceServerClient(f"127.0.0.1:{http.base_url.port}") as other:
        over_http = other.infer("digits_cnn", [sent])
    answer = over_grpc.get_response(as_json=True)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("five", "digits_cnn", "2")
    for name in ("logits", "probabilities", "familiarity"):
        np.testing.assert_array_equal(over_grpc.as_numpy(name), over_http.as_numpy(name))


def test_outputs_and_versions_are_chosen(service: Service, images: np.ndarray):
    client, _, _ = service
    asked = [triton.InferRequestedOutput("probabilities", class_count=2)]
    found = client.infer("digits_cnn", [tensor(images)], model_version="1", outputs=asked)
    assert [output.name for output in found.get_response().outputs] == ["probabilities"]
    texts = found.as_numpy("probabilities")
    assert texts.shape == (5, 2)
    assert all(len(text.split(b":")) == 3 for text in texts.ravel())
    assert found.get_response().model_version == "1"


def test_numbers_in_the_message(service: Service, images: np.ndarray):
    """A client that does not send raw contents: grpcurl, for example."""
    client, _, stub = service
    request = pb.ModelInferRequest(model_name="digits_cnn")
    entry = request.inputs.add(name="images", datatype="UINT8", shape=images.shape)
    entry.contents.uint_contents.extend(images.ravel().tolist())
    found = stub.ModelInfer(request)
    expected = client.infer("digits_cnn", [tensor(images)]).as_numpy("probabilities")
    np.testing.assert_array_equal(np.frombuffer(found.raw_output_contents[1], np.float32).reshape(5, 10), expected)


def test_calls_in_flight_share_batches(service: Service, images: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    """gRPC hands over one call at a time: computed on the event loop, each would be a batch of its own."""
    _, http, stub = service
    run = Model.run

    def slowly(model: Model, images: np.ndarray) -> Outputs:
        time.sleep(INLINE_SECONDS / 3)
        return run(model, images)

    monkeypatch.setattr(Model, "run", slowly)

    def batches() -> float:
        found = re.search(r'^cnnzoo_batch_images_count\{model="digits_cnn"\} (\S+)$', http.get("/metrics").text, re.M)
        return float(found[1]) if found else 0

    request = pb.ModelInferRequest(model_name="digits_cnn", raw_input_contents=[images[:1].tobytes()])
    request.inputs.add(name="images", datatype="UINT8", shape=[1, *images.shape[1:]])
    before = batches()
    for call in [stub.ModelInfer.future(request) for _ in range(300)]:
        assert len(call.result().outputs) == 3
    assert 0 < batches() - before < 150


@pytest.mark.slow
def test_two_workers_answer_on_one_port(trained: Path, images: np.ndarray):
    port = free_port()
    with serve(trained / "zoo", CNNZOO_WORKERS="2", CNNZOO_GRPC_PORT=str(port)) as http, ExitStack() as stack:
        wait_for(port)
        for n in range(50):  # the kernel chooses the worker of a connection
            options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", options))
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = pb.ModelInferRequest(model_name="digits_cnn", raw_input_contents=[images.tobytes()], id=f"{n}")
            request.inputs.add(name="images", datatype="UINT8", shape=images.shape)
            assert stub.ModelInfer(request).id == f"{n}"
        connections = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port]
        answering = [c.pid for c in connections if c.status == "ESTABLISHED"]
        assert len(answering) == 50
        assert len(set(answering)) == 2
        text = http.get("/metrics").text
    assert re.search(r'cnnzoo_requests_total\{model="digits_cnn",route="grpc:ModelInfer",status="200"\} 50\.0', text)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "nobody"}, "NOT_FOUND", "no model is called 'nobody'"),
        ({"version": "9"}, "NOT_FOUND", "has no version '9'"),
        ({"shape": [5, 1, 9, 9]}, "INVALID_ARGUMENT", "expected [N, 1, 8, 8]"),
        ({"datatype": "FP32"}, "INVALID_ARGUMENT", "it is UINT8"),
        ({"name": "pixels"}, "INVALID_ARGUMENT", "it is called 'images'"),
        ({"output": "answers"}, "INVALID_ARGUMENT", "there is no output 'answers'"),
        ({"raw": [b"123"]}, "INVALID_ARGUMENT", "3 bytes for the shape [5, 1, 8, 8]"),
        ({"raw": [b"", b""]}, "INVALID_ARGUMENT", "1 inputs, 2 raw contents"),
        ({"raw": []}, "INVALID_ARGUMENT", "the tensor has no contents"),
        ({"contents": "uint_contents"}, "INVALID_ARGUMENT", "in one of them"),
        ({"contents": "fp32_contents", "raw": []}, "INVALID_ARGUMENT", "the tensor has fp32_contents"),
        ({"parameter": "shared_memory_region"}, "INVALID_ARGUMENT", "expected classification"),
        ({"id": "x" * 257}, "INVALID_ARGUMENT", "the id has 257 characters"),
    ],
)
def test_errors_say_what_was_expected(service: Service, images: np.ndarray, change: dict, status: str, words: str):
    _, _, stub = service
    request = pb.ModelInferRequest(
        model_name=change.get("model", "digits_cnn"), model_version=change.get("version", ""), id=change.get("id", "")
    )
    request.inputs.add(
        name=change.get("name", "images"),
        datatype=change.get("datatype", "UINT8"),
        shape=change.get("shape", images.shape),
    )
    if "contents" in change:
        getattr(request.inputs[0].contents, change["contents"]).extend([1] * images.size)
    if "parameter" in change:
        request.outputs.add(name="logits").parameters[change["parameter"]].string_param = "here"
    request.raw_input_contents.extend(change.get("raw", [images.tobytes()]))
    if "output" in change:
        request.outputs.add(name=change["output"])
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request)
    assert error.value.code().name == status
    assert words in error.value.details()


def test_a_large_message_is_refused_and_calls_are_counted(service: Service):
    client, http, _ = service
    many = np.zeros((70_000, 1, 8, 8), np.uint8)
    with pytest.raises(InferenceServerException, match="larger than max"):
        client.infer("digits_cnn", [tensor(many)])
    with pytest.raises(InferenceServerException, match="N from 1 to 1024"):
        client.infer("digits_cnn", [tensor(many[:1025])])
    client.infer("digits_cnn", [tensor(many[:1024])])
    counted = http.get("/metrics").text
    assert 'cnnzoo_requests_total{model="digits_cnn",route="grpc:ModelInfer",status="200"}' in counted
    assert 'cnnzoo_requests_total{model="digits_cnn",route="grpc:ModelInfer",status="400"}' in counted


def test_the_api_key_and_health(trained: Path, images: np.ndarray):
    port = free_port()
    with listening(trained / "zoo", grpc_port=port, api_key=KEY):
        wait_for(port)
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert client.is_server_live()
            for headers in ({}, {"authorization": "Bearer wrong"}):
                with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                    client.infer("digits_cnn", [tensor(images)], headers=headers)
            found = client.infer("digits_cnn", [tensor(images)], headers={"authorization": f"Bearer {KEY}"})
            assert found.as_numpy("probabilities").shape == (5, 10)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "inference.GRPCInferenceService"):
                state = health.Check(health_pb2.HealthCheckRequest(service=name)).status
                assert state == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
                health.Check(health_pb2.HealthCheckRequest(service="mnist"))
            unknown = next(health.Watch(health_pb2.HealthCheckRequest(service="mnist")))
            assert unknown.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_a_call_of_triton_alone_is_unimplemented(trained: Path):
    port = free_port()
    with listening(trained / "zoo", grpc_port=port):
        wait_for(port)
        with (
            triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
            pytest.raises(InferenceServerException, match="UNIMPLEMENTED"),
        ):
            client.get_model_config("digits_cnn")


def test_the_health_protocol_follows_the_models(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnzoo.serve.grpc_server.HEALTH_SECONDS", 0.05)
    zoo, port = tmp_path / "zoo", free_port()
    shutil.copytree(trained / "zoo", zoo)
    with listening(zoo, grpc_port=port, rescan=0.1), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        wait_for(port)
        states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        shutil.rmtree(zoo / "digits_cnn")
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        shutil.copytree(trained / "zoo/digits_cnn", zoo / "digits_cnn")
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING


def test_a_stop_ends_the_streams_of_the_health_protocol(trained: Path):
    port = free_port()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with listening(trained / "zoo", grpc_port=port, timeout=100):
            wait_for(port)
            streams = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
            assert [next(states).status for states in streams] == 2 * [health_pb2.HealthCheckResponse.SERVING]
            begin = time.monotonic()
        assert time.monotonic() - begin < 20
        for states in streams:
            assert [state.status for state in states] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_streams_of_the_health_protocol_are_limited(trained: Path, monkeypatch: pytest.MonkeyPatch):
    """They have no key. One that ends makes room."""
    monkeypatch.setattr("cnnzoo.serve.grpc_server.MAX_WATCHERS", 2)
    port = free_port()
    with listening(trained / "zoo", grpc_port=port, api_key=KEY), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        wait_for(port)
        stub = health_pb2_grpc.HealthStub(channel)
        streams = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(2)]
        for stream in streams:
            assert next(stream).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # Kubernetes' probes do not depend on the watchers.
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
        streams[0].cancel()
        for _ in range(100):
            try:
                next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))
                break
            except grpc.RpcError:
                time.sleep(0.1)
        else:
            pytest.fail("a stream that was cancelled still counts")


def no_message(end: threading.Event) -> Iterator[bytes]:
    """Yield nothing, and go on until `end` is set."""
    end.wait(60)
    yield from ()


@pytest.mark.slow
def test_a_call_whose_message_does_not_arrive_ends(trained: Path, images: np.ndarray):
    """It ends at once without the key, and after the time limit with it. Health probes are answered meanwhile."""
    port, key, end = free_port(), [("authorization", f"Bearer {KEY}")], threading.Event()
    with listening(trained / "zoo", grpc_port=port, api_key=KEY, timeout=6, max_requests=3):
        wait_for(port)
        with (
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
            triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
        ):
            infer = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
            begin = time.monotonic()
            assert infer.future(no_message(end)).code() == grpc.StatusCode.UNAUTHENTICATED
            assert time.monotonic() - begin < 1
            held = [infer.future(no_message(end), metadata=key) for _ in range(3)]
            time.sleep(1)
            assert client.is_server_live()
            health = health_pb2_grpc.HealthStub(channel)
            serving = health_pb2.HealthCheckResponse.SERVING
            assert health.Check(health_pb2.HealthCheckRequest()).status == serving
            ask_health = channel.stream_unary("/grpc.health.v1.Health/Check")
            asked = [ask_health.future(no_message(end)) for _ in range(2)]  # by strangers: they need no key
            headers = dict(key)
            with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.*as many calls as"):
                client.infer("digits_cnn", [tensor(images)], headers=headers)
            assert {call.code() for call in [*held, *asked]} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            probe = channel.stream_unary("/inference.GRPCInferenceService/ServerLive")
            probes = [probe.future(no_message(end)) for _ in range(8)]  # by strangers: they need no key
            time.sleep(0.5)
            assert client.infer("digits_cnn", [tensor(images)], headers=headers).as_numpy("logits").shape == (5, 10)
            assert {call.code() for call in probes} == {grpc.StatusCode.OK}  # without their messages
            assert client.infer("digits_cnn", [tensor(images)], headers=headers).as_numpy("logits").shape == (5, 10)
            end.set()


@pytest.mark.parametrize("empty", [b"\x2a\x00", b"\x32\x00", b"\x22\x00"], ids=["inputs", "outputs", "parameters"])
@pytest.mark.parametrize("nested", [False, True])
def test_millions_of_empty_fields_are_refused_before_they_are_parsed(empty: bytes, nested: bool):
    fields = empty * 1_000_000
    message = b"\x2a" + _length(fields) + fields if nested else fields
    if nested and empty != b"\x22\x00":
        message = b"\x2a" + _length(message) + message
    with pytest.raises(ApiError, match="more than 64 fields"):
        check_fields(memoryview(message), NESTED)


def test_many_fields_in_many_messages_are_refused():
    contents = b"".join(64 * [_nested(5, b"\x08\x00" * 64)])
    with pytest.raises(ApiError, match="more than 64 fields"):
        check_fields(memoryview(b"".join(64 * [_nested(5, contents)])), NESTED)


def _nested(field: int, message: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _length(message) + message


def _length(content: bytes) -> bytes:
    number, found = len(content), b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def test_a_whole_message_passes(images: np.ndarray):
    request = pb.ModelInferRequest(model_name="digits_cnn", id="one", raw_input_contents=[images.tobytes()])
    entry = request.inputs.add(name="images", datatype="UINT8", shape=images.shape)
    entry.contents.uint_contents.extend(range(100_000))
    request.outputs.add(name="logits").parameters["classification"].int64_param = 3
    content = memoryview(request.SerializeToString())
    check_fields(content, NESTED)
    for cut in range(1, 40):
        with pytest.raises(ApiError, match="damaged"):
            check_fields(content[: len(content) - cut], NESTED)


def test_a_long_name_is_cheap(service: Service, monkeypatch: pytest.MonkeyPatch):
    """To look for a similar name takes time that grows with the name's length."""
    client, _, _ = service
    lengths: list[int] = []

    def count(name: str, *_: object, **__: object) -> list[str]:
        lengths.append(len(name))
        return []

    monkeypatch.setattr("difflib.get_close_matches", count)
    with pytest.raises(InferenceServerException, match="no model is called") as raised:
        client.is_model_ready("ab" * 1_000_000)
    assert lengths == [64]
    with pytest.raises(InferenceServerException, match="has no version"):
        client.is_model_ready("digits_cnn", "1" * 1_000_000)
    assert len(str(raised.value)) < 1000


def test_a_defect_is_an_internal_error(trained: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("cnnzoo.serve.grpc_server.describe", broken)
    port = free_port()
    with (
        listening(trained / "zoo", grpc_port=port),
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        wait_for(port)
        with pytest.raises(InferenceServerException, match=r"INTERNAL.*its log says why"):
            client.get_model_metadata("digits_cnn")


def test_a_port_that_is_taken_ends_the_start(trained: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = create_app(read_settings(zoo=trained / "zoo", grpc_port=taken.getsockname()[1]))

        async def start() -> None:
            async with app.router.lifespan_context(app):
                pass

        with pytest.raises(OSError, match="choose another CNNZOO_GRPC_PORT"):
            asyncio.run(start())
    with pytest.raises(ValueError, match="HTTP has this port"):
        read_settings(zoo=trained / "zoo", port=4000, grpc_port=4000)


def test_garbage_and_too_many_bytes_leave_the_others_answered(trained: Path, images: np.ndarray):
    port = free_port()
    with listening(trained / "zoo", grpc_port=port, max_held=2048, max_body=70_000):
        wait_for(port)
        rng = np.random.default_rng(0)
        for size in (1, 10, 100, 10_000):
            for start in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(start + rng.bytes(size))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for size in (0, 1, 100, 1000):
                with pytest.raises(grpc.RpcError):
                    infer(rng.bytes(size))
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            many = tensor(np.zeros((1024, 1, 8, 8), np.uint8))  # two of these are more than the service holds
            assert client.infer("digits_cnn", [many]).as_numpy("probabilities").shape == (1024, 10)
            answers: queue.Queue[InferenceServerException | None] = queue.Queue()
            for _ in range(20):
                client.async_infer("digits_cnn", [many], lambda result, error: answers.put(error))
            refused = [error for error in (answers.get(timeout=60) for _ in range(20)) if error]
            assert 0 < len(refused) < 20
            assert all(re.search("UNAVAILABLE.*as many messages as it can", str(error)) for error in refused)
            assert client.infer("digits_cnn", [tensor(images)]).as_numpy("probabilities").shape == (5, 10)


def test_a_call_in_flight_is_answered_before_the_server_stops(trained: Path, images: np.ndarray):
    port = free_port()
    app = create_app(read_settings(zoo=trained / "zoo", grpc_port=port))

    def ask() -> tuple[int, ...]:
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            return client.infer("digits_cnn", [tensor(images)]).as_numpy("probabilities").shape

    async def stop_during_a_call() -> tuple[int, ...]:
        async with app.router.lifespan_context(app):
            call = asyncio.create_task(asyncio.to_thread(ask))
            while not app.state.metrics.in_flight:
                assert not call.done()
                await asyncio.sleep(0)
        return await call

    assert asyncio.run(stop_during_a_call()) == (5, 10)


@pytest.mark.slow
def test_the_process_stops_while_it_is_asked(trained: Path, images: np.ndarray):
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "cnnzoo", "serve", "--zoo", str(trained / "zoo"), "--port", str(port)]
    settings = {**os.environ, "CNNZOO_GRPC_PORT": str(grpc_port)}
    with (
        (trained / "grpc.log").open("w") as log,
        running(*command, stdout=log, stderr=log, env=settings) as process,
    ):
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(60)
        answered: list[int] = []
        stopped: list[str] = []

        def ask() -> None:
            with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
                while True:
                    try:
                        found = client.infer("digits_cnn", [tensor(images)])
                    except InferenceServerException as error:
                        stopped.append(str(error))
                        return
                    answered.append(len(found.as_numpy("probabilities")))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert process.wait(30) == 0
        assert len(answered) > 50
        assert set(answered) == {5}
        # gRPC cancels a call that has arrived and has not begun.
        assert all("UNAVAILABLE" in text or "CANCELLED" in text for text in stopped), stopped


def test_a_call_whose_answer_is_not_read_counts(trained: Path, images: np.ndarray):
    port = free_port()
    many = np.repeat(images[:1], 1024, axis=0)
    request = pb.ModelInferRequest(model_name="digits_cnn", raw_input_contents=[many.tobytes()])
    request.inputs.add(name="images", datatype="UINT8", shape=many.shape)
    for name in ("logits", "probabilities"):  # 350 kB, more than a client's window
        request.outputs.add(name=name).parameters["classification"].int64_param = 10
    content = request.SerializeToString()
    with listening(trained / "zoo", grpc_port=port, max_requests=2):
        wait_for(port)
        options = [("grpc.http2.bdp_probe", 0)]
        with (
            grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel,
            triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
        ):
            infer = channel.stream_stream("/inference.GRPCInferenceService/ModelInfer")
            unread = [infer(iter([content])) for _ in range(2)]
            time.sleep(1)
            with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.*as many calls as"):
                client.infer("digits_cnn", [tensor(images)])
            for call in unread:
                call.cancel()
            time.sleep(0.5)
            assert client.infer("digits_cnn", [tensor(images)]).as_numpy("logits").shape == (5, 10)
