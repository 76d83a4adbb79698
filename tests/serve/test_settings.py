"""Test the settings: their variables, their effects, and the errors of wrong values."""

import importlib
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers import error, free_port, in_process, png, refused, serve

from cnnzoo.serve import start
from cnnzoo.serve.settings import ServeSettings, read_settings, unknown_settings

PNG = {"Content-Type": "image/png"}
PREDICT = "/v1/models/digits_cnn/predict"
KEY = {"Authorization": "Bearer open-sesame"}
ORIGIN = "https://zoo.example"


@pytest.fixture(scope="module")
def guarded(trained: Path) -> Iterator[httpx.Client]:
    """Return a client of an app with a key, origins, small limits and a log."""
    with in_process(
        trained / "zoo",
        api_key="open-sesame",
        origins=f"{ORIGIN}, http://localhost:8080",
        max_body=100_000,
        max_pixels=10_000,
        log="json",
    ) as client:
        yield client


@pytest.fixture(scope="module")
def two_workers(trained: Path) -> Iterator[httpx.Client]:
    """Start a service of two worker processes with a key."""
    with serve(trained / "zoo", CNNZOO_API_KEY="open-sesame", CNNZOO_WORKERS="2") as client:
        yield client


def test_the_page_of_docs_lists_them_all():
    page = (Path(__file__).parents[2] / "docs/service.md").read_text()
    rows = dict(re.findall(r"^\| `(CNNZOO_[A-Z_]+)` \| (.+?) \|$", page, re.M))
    for name, field in ServeSettings.model_fields.items():
        row = rows.pop(f"CNNZOO_{name.upper()}")
        assert row.endswith(f"| {field.description}"), name
    assert not [name for name in rows if name != "CNNZOO_DATA"]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CNNZOO_PORT", "http", "valid integer"),
        ("CNNZOO_PORT", "70000", "less than or equal to 65535"),
        ("CNNZOO_HOST", "example.org", "127.0.0.1 is this machine"),
        ("CNNZOO_WORKERS", "0", "greater than or equal to 1"),
        ("CNNZOO_MAX_BODY", "32 MiB", "valid integer"),
        ("CNNZOO_ORIGINS", "example.org", "write it as https://example.org"),
        ("CNNZOO_ORIGINS", "https://example.org/page", "without a path"),
        ("CNNZOO_LOG", "yes", "'off' or 'json'"),
        ("CNNZOO_TIMEOUT", "-1", "greater than 0"),
        ("CNNZOO_MAX_PIXELS", "200000000", "less than or equal to 178956970"),
    ],
)
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match="settings") as caught:
        read_settings()
    assert f"{variable} is {value!r}" in str(caught.value)
    assert says in str(caught.value)


def test_a_wrong_value_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Test both entry points: the command, and BentoML's import of the service."""
    monkeypatch.setenv("CNNZOO_PORT", "70000")
    assert "CNNZOO_PORT is '70000'" in refused("serve", cwd=tmp_path)
    monkeypatch.delitem(sys.modules, "cnnzoo.serve.service", raising=False)
    with pytest.raises(SystemExit, match="CNNZOO_PORT is '70000'"):
        importlib.import_module("cnnzoo.serve.service")


def test_localhost_is_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CNNZOO_HOST", "localhost")
    assert read_settings().host == "127.0.0.1"


def test_a_mistyped_variable_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CNNZOO_MAXBODY", "1024")
    monkeypatch.setenv("CNNZOO_DATA", "/data")
    assert unknown_settings() == ["CNNZOO_MAXBODY is no setting; did you mean 'CNNZOO_MAX_BODY'?"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"host": "203.0.113.7"}, "this machine has no such address"),
        ({"port": 99999}, "--port is 99999: Input should be less than or equal to 65535"),
        ({"zoo": Path("/nowhere")}, "there is no folder /nowhere: give another --zoo"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(
    given: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HOST", "PORT", "ZOO", "WORKERS"):  # serve sets them for BentoML
        monkeypatch.setenv(f"CNNZOO_{name}", "")
    with pytest.raises((ValueError, OSError), match=says):
        start.serve(**{"port": free_port(), **given})


def test_without_the_key_there_is_health_and_the_page(guarded: httpx.Client):
    for path in ("/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200, path
    closed = [
        ("GET", "/models"),
        ("GET", "/models/digits_cnn.onnx"),
        ("HEAD", "/models/digits_cnn.onnx"),
        ("POST", PREDICT),
        ("POST", "/v2/models/digits_cnn/infer"),
        ("POST", "/classify"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("GET", "/schema.json"),
        ("POST", "/v2/repository/index"),
    ]
    wrong = [
        {},
        {"Authorization": "Bearer open-sesam"},
        {"Authorization": "Basic open-sesame"},
        {"Authorization": "open-sesame"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff"},
    ]
    for method, path in closed:
        for headers in wrong:
            response = guarded.request(
                method, path, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
            )
            assert response.status_code == 401, (method, path, headers)
            assert response.headers["www-authenticate"] == "Bearer"
    assert "send it as 'Authorization: Bearer <key>'" in error(guarded.get("/models"), 401)


def test_with_the_key_all_is_as_without_one(guarded: httpx.Client):
    assert guarded.get("/models", headers=KEY).status_code == 200
    assert guarded.get("/models", headers={"Authorization": "bearer  open-sesame"}).status_code == 200
    content = png(np.zeros((8, 8), np.uint8))
    assert guarded.post(PREDICT, content=content, headers={**KEY, **PNG}).status_code == 200
    assert guarded.get("/nothing", headers=KEY).status_code == 404


def test_pages_of_the_origins_may_ask_and_download(guarded: httpx.Client):
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = guarded.options("/models/digits_cnn.onnx", headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    got = guarded.get("/models/digits_cnn.onnx", headers={**KEY, "Origin": ORIGIN})
    assert got.headers["access-control-allow-origin"] == ORIGIN
    assert {"ETag", "Content-Range", "Retry-After"} <= set(got.headers["access-control-expose-headers"].split(", "))
    refused = guarded.get("/models", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    for path in ("/models/nothing", "/nothing"):  # a page may read what was wrong
        wrong = guarded.get(path, headers={**KEY, "Origin": ORIGIN})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (404, ORIGIN)
        assert wrong.json()["request_id"] == wrong.headers["x-request-id"]
    assert (
        "access-control-allow-origin" not in guarded.get("/livez", headers={"Origin": "https://evil.example"}).headers
    )


def test_no_origin_is_allowed_by_default(client: httpx.Client):
    assert "access-control-allow-origin" not in client.get("/models", headers={"Origin": ORIGIN}).headers


def test_limits_are_as_set(guarded: httpx.Client):
    headers = {**KEY, **PNG}
    assert "larger than 100,000 bytes" in error(guarded.post(PREDICT, content=bytes(100_001), headers=headers), 413)
    picture = png(np.zeros((101, 100), np.uint8))
    assert "at most 10,000" in error(guarded.post(PREDICT, content=picture, headers=headers), 413)


@pytest.mark.slow
def test_metrics_count_by_route_and_model_over_all_workers(two_workers: httpx.Client, trained: Path):
    content = png(np.zeros((8, 8), np.uint8))

    def count(name: str, **labels: str) -> float:
        total = 0.0
        for line in two_workers.get("/metrics", headers=KEY).text.splitlines():
            if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    route = "/v1/models/{model}/predict"
    with serve(trained / "zoo"):  # another service of the same user keeps its own numbers
        pass
    before = count("cnnzoo_requests_total", route=route, status="200")
    images = count("cnnzoo_batch_images_sum", model="digits_cnn")
    for _ in range(20):
        with httpx.Client(base_url=two_workers.base_url) as other:  # a new connection may go to the other worker
            assert other.post(PREDICT, content=content, headers={**KEY, **PNG}).status_code == 200
    assert count("cnnzoo_requests_total", route=route, model="digits_cnn", status="200") >= before + 20
    assert count("cnnzoo_request_seconds_count", route=route, model="digits_cnn") >= before + 20
    assert count("cnnzoo_batch_images_sum", model="digits_cnn") == images + 20
    for i in range(20):
        two_workers.get(f"/made-up-{i}", headers=KEY)
    exposed = two_workers.get("/metrics", headers=KEY)
    assert "made-up" not in exposed.text
    assert count("cnnzoo_requests_total", route="other", status="404") >= 20
    assert exposed.headers["content-type"].startswith("text/plain; version=")
    for name in ("cnnzoo_requests_in_flight", "cnnzoo_queued_images"):
        assert f"# TYPE {name} gauge" in exposed.text


def test_a_refused_request_counts_under_its_route(guarded: httpx.Client):
    """A middleware refuses it before the router sees it."""
    route = "/v1/models/{model}/predict"
    guarded.post(PREDICT, content=b"x")  # 401
    guarded.post(PREDICT, content=bytes(100_001), headers={**KEY, **PNG})  # 413
    guarded.post(PREDICT, content=b"x", headers={**KEY, **PNG, "Content-Encoding": "gzip"})  # 415
    guarded.post("/made-up", content=b"x")  # 401, of no route
    counted = guarded.get("/metrics", headers=KEY).text
    for status in (401, 413, 415):
        assert f'cnnzoo_requests_total{{model="",route="{route}",status="{status}"}}' in counted
    assert 'cnnzoo_requests_total{model="",route="other",status="401"}' in counted
    assert "made-up" not in counted


def test_the_log_has_a_line_for_each_request(guarded: httpx.Client, capfd: pytest.CaptureFixture[str]):
    guarded.get("/models/digits_cnn.onnx", headers={**KEY, "X-Request-ID": "look-for-me"})
    log = capfd.readouterr().out
    (line,) = (json.loads(line) for line in log.splitlines() if "look-for-me" in line)
    assert (line["status"], line["method"], line["route"]) == (200, "GET", "/models/{model}.onnx")
    assert (line["model"], line["request_id"]) == ("digits_cnn", "look-for-me")
    assert line["bytes"] > 10_000
    assert "sesame" not in log


@pytest.mark.parametrize(("taken", "option"), [("PORT", r"--port \(make serve"), ("GRPC_PORT", "CNNZOO_GRPC_PORT")])
def test_a_taken_port_ends_the_start(monkeypatch: pytest.MonkeyPatch, trained: Path, taken: str, option: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {"PORT": free_port(), taken: server.getsockname()[1]}
        for name in ("HOST", "ZOO", "WORKERS", *ports):  # serve sets them for BentoML
            monkeypatch.setenv(f"CNNZOO_{name}", str(ports.get(name, "")))
        with pytest.raises(OSError, match=f"cannot listen on .*: choose another {option}"):
            start.serve(zoo=trained / "zoo")


@pytest.mark.parametrize("key", ["two words", "line\n"])
def test_a_key_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("CNNZOO_API_KEY", key)
    with pytest.raises(ValueError, match="CNNZOO_API_KEY is not shown") as caught:
        read_settings()
    assert "without spaces or line breaks" in str(caught.value)
    assert repr(key) not in str(caught.value)
