"""Test the middleware around a small app: error format, body limits and deadlines."""

import threading
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from helpers import error, png
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cnnzoo.serve.app import create_app
from cnnzoo.serve.deadline import Deadline
from cnnzoo.serve.errors import ApiError, ErrorFormat
from cnnzoo.serve.held import Held
from cnnzoo.serve.large_response import LargeResponse
from cnnzoo.serve.limits import BodyLimit
from cnnzoo.serve.routes.predict import top_classes
from cnnzoo.serve.settings import read_settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


POST: Scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}


async def receive_nothing() -> Message:
    return {"type": "http.request", "body": b""}


async def slow(request: Request) -> PlainTextResponse:
    await anyio.sleep(30)
    return PlainTextResponse("late")


async def long_download(request: Request) -> StreamingResponse:
    async def parts():
        for _ in range(6):
            yield b"x"
            await anyio.sleep(0.1)

    return StreamingResponse(parts())


async def broken(request: Request) -> PlainTextResponse:
    raise RuntimeError("the secret is 42")


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def swallowing(request: Request) -> PlainTextResponse:
    try:
        await request.body()
    except Exception:
        return PlainTextResponse("all is well")
    return PlainTextResponse("all was read")


async def watchful(request: Request) -> PlainTextResponse:
    await request.body()
    assert not await request.is_disconnected()
    await anyio.sleep(30)
    return PlainTextResponse("late")


def client() -> httpx.AsyncClient:
    routes = [
        Route("/slow", slow),
        Route("/watchful", watchful, methods=["POST"]),
        Route("/broken/{name}", broken),
        Route("/long", long_download),
        Route("/broken", broken),
        Route("/length", length, methods=["POST"]),
        Route("/swallowing", swallowing, methods=["POST"]),
    ]
    app = ErrorFormat(Deadline(BodyLimit(Starlette(routes=routes), limit=1000, held=3000, requests=4), seconds=0.3))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


async def test_no_answer_in_time_is_504():
    assert "no answer within 0.3 seconds" in error(await client().get("/slow"), 504)


async def test_whoever_asked_whether_the_client_is_there_did_not_wait_for_a_body():
    assert "no answer within 0.3 seconds" in error(await client().post("/watchful", content=b"x"), 504)


async def test_a_download_that_has_begun_may_take_longer():
    assert (await client().get("/long")).content == b"x" * 6


async def test_a_failure_is_500_and_tells_nothing(caplog: pytest.LogCaptureFixture):
    response = await client().get("/broken", headers={"X-Request-ID": "find-me"})
    assert "secret" not in error(response, 500)
    assert "find-me" in caplog.text
    assert "the secret is 42" in caplog.text


async def test_a_log_line_has_no_line_break_of_a_path(caplog: pytest.LogCaptureFixture):
    await client().get("/broken/%0aINFO:%20all%20is%20well%0d%E2%80%A8")
    (record,) = caplog.records
    assert "all is well" in record.getMessage()
    assert len(record.getMessage().splitlines()) == 1


async def chunks(n: int, size: int = 100):
    for _ in range(n):
        yield bytes(size)


async def test_a_body_up_to_the_limit_is_read_and_none_beyond():
    assert (await client().post("/length", content=bytes(1000))).text == "1000"
    assert (await client().post("/length", content=chunks(10))).text == "1000"
    for path in ("/length", "/swallowing"):
        assert "larger than 1,000 bytes" in error(await client().post(path, content=bytes(1001)), 413)
        assert "larger than 1,000 bytes" in error(await client().post(path, content=chunks(11)), 413)


async def test_one_more_than_may_be_is_the_one_that_is_refused():
    """An earlier request whose body still arrives in pieces is not refused."""
    app = BodyLimit(Starlette(routes=[Route("/", length, methods=["POST"])]), 1000, 1000, requests=1)
    go_on = anyio.Event()
    answer = None

    async def pieces():
        yield b"abc"
        await go_on.wait()
        yield b"def"

    async def first():
        nonlocal answer
        answer = await client.post("/", content=pieces())

    async def newcomer():
        yield b"x"

    transport = httpx.ASGITransport(ErrorFormat(app))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(first)
        await anyio.sleep(0.1)
        assert (await client.post("/", content=b"x")).status_code == 503
        assert (await client.post("/", content=newcomer())).status_code == 503
        go_on.set()
    assert answer is not None
    assert (answer.status_code, answer.text) == (200, "6")


@pytest.mark.parametrize("order", [1, -1])
async def test_a_body_in_chunks_is_counted_whatever_length_is_declared(order: int):
    headers = [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")][::order]
    parts = iter([b"x" * 900, b"x" * 900])
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": next(parts), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    app = BodyLimit(Starlette(routes=[Route("/", length, methods=["POST"])]), 1000, 3000, requests=4)
    await ErrorFormat(app)(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}, receive, send
    )
    assert sent[0]["status"] == 413


async def test_answers_that_nobody_reads_do_not_pile_up():
    held = Held(200_000, "answers to send")
    go_on = anyio.Event()
    statuses: list[int] = []

    async def send(message: dict) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        await go_on.wait()

    response = LargeResponse(bytes(150_000), held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(response, {}, None, send)
        await anyio.sleep(0.01)
        with pytest.raises(ApiError, match="as many answers to send as it can: try again"):
            await response({}, None, send)
        go_on.set()
    await response({}, None, send)
    assert statuses == [200, 200]
    assert held.bytes == 0


@pytest.mark.parametrize("stuck", ["http.response.start", "http.response.body"])
async def test_a_client_that_does_not_read_holds_no_bytes(stuck: str):
    """Its connection is closed: uvicorn does so with an answer that stays incomplete.

    The start of an answer waits, too, if the connection's earlier answers were not read.
    """
    held = Held(200_000, "answers to send")
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == stuck:
            await anyio.sleep_forever()

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(100)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await LargeResponse(bytes(150_000), held)(scope, receive, send)

    body_limit = BodyLimit(app, limit=1000, held=100, requests=1)
    for _ in range(2):  # the second one finds the first one's place free
        with anyio.fail_after(5):
            await ErrorFormat(Deadline(body_limit, seconds=0.5))(POST, receive, send)
        assert sent[-1] == stuck
        assert held.bytes == 0


async def test_an_answer_may_take_longer_if_the_client_reads_it():
    async def send(message: Message) -> None:
        await anyio.sleep(0.2)  # together more than a second
        sent.append(message)

    sent: list[Message] = []
    await Deadline(LargeResponse(bytes(400_000), Held(1, "")), seconds=0.8)(POST, receive_nothing, send)
    assert sum(len(message.get("body", b"")) for message in sent) == 400_000


async def test_bytes_that_do_not_arrive_are_not_held():
    """Else a few clients that declare long bodies and send nothing would shut out all others."""
    waiting = anyio.Event()

    async def never() -> Message:
        waiting.set()
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    app = BodyLimit(Starlette(routes=[Route("/", length, methods=["POST"])]), limit=1000, held=1000, requests=4)
    silent = {**POST, "headers": [(b"content-length", b"1000")]}
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(ErrorFormat(app)), base_url="http://test") as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(app, silent, never, never)
        await waiting.wait()
        assert (await client.post("/", content=bytes(900))).text == "900"
        tasks.cancel_scope.cancel()


async def test_a_body_with_an_upgrade_is_refused():
    """uvicorn's parser drops it. Java's HttpClient sends Upgrade: h2c unless it is told HTTP_1_1."""
    upgrade = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}
    for content in (b"abc", chunks(1)):
        response = await client().post("/length", content=content, headers=upgrade)
        assert "asks for h2c: send it as HTTP/1.1" in error(response, 400)
        assert response.headers["connection"] == "close"
    assert (await client().get("/long", headers=upgrade)).status_code == 200


async def test_a_large_answer_arrives_whole():
    content = bytes(range(256)) * 1000
    held = Held(1, "answers to send")  # alone, it may be larger
    app = LargeResponse(content, held, media_type="application/octet-stream")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        response = await client.get("/")
    assert response.content == content
    assert response.headers["content-length"] == "256000"


async def test_prepared_images_are_limited(trained: Path):
    """A JPEG of a thousand bytes may become an input of a hundred thousand."""
    app = create_app(read_settings(zoo=trained / "zoo"))
    held = app.state.prepared
    image: dict[str, Any] = {"content": png(np.zeros((8, 8), np.uint8)), "headers": {"content-type": "image/png"}}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        with held.add(app.state.settings.max_held):
            refused = await client.post("/v1/models/digits_cnn/predict", **image)
        assert refused.status_code == 503
        assert "as many prepared images as it can" in refused.json()["error"]
        assert (await client.post("/v1/models/digits_cnn/predict", **image)).status_code == 200
    assert held.bytes == 0


async def test_a_long_answer_is_written_on_a_thread(trained: Path, monkeypatch: pytest.MonkeyPatch):
    app = create_app(read_settings(zoo=trained / "zoo"))
    threads: list[int] = []

    def spied(*args: Any) -> list[list[dict[str, Any]]]:
        threads.append(threading.get_ident())
        return top_classes(*args)

    monkeypatch.setattr("cnnzoo.serve.routes.predict.top_classes", spied)
    image = png(np.zeros((8, 8), np.uint8))
    two = [("file", ("a.png", image)), ("file", ("b.png", image))]
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        several = await client.post("/v1/models/digits_cnn/predict?top_k=10", files=two)
        pixels = await client.post(
            "/v1/models/digits_cnn/predict?show_input=true", content=image, headers={"content-type": "image/png"}
        )
    assert [len(answer.json()["predictions"]) for answer in (several, pixels)] == [2, 1]
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_the_process_does_not_end_before_the_services_own_lifespan(trained: Path):
    """Calls over gRPC are answered, and the last traces sent, in it."""
    events: list[str] = []

    async def bento(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message: Message) -> None:
        events.append(message["type"])

    from cnnzoo.serve.service import Adapter

    adapter = Adapter(bento, read_settings(zoo=trained / "zoo"))
    adapter.app.state.send_spans = lambda: events.append("traces sent")
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(asked)}

    await adapter({"type": "lifespan"}, receive, send)
    assert events == ["lifespan.startup.complete", "traces sent", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused_without_a_second_start(trained: Path):
    """It ran the lifespan of the app again, which sends the last traces and opens the port of gRPC."""
    sent: list[Message] = []

    async def bento(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("BentoML was asked")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    from cnnzoo.serve.service import Adapter

    adapter = Adapter(bento, read_settings(zoo=trained / "zoo"))
    await adapter({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close"}]
