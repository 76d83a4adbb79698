"""Test Server-Timing, and traces as a collector of OpenTelemetry receives them."""

import http.server
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from helpers import listening, place, png, web_server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(http.server.BaseHTTPRequestHandler):
    """The receiving end of OTLP over HTTP."""

    spans: ClassVar[list[Any]] = []
    services: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for group in sent.resource_spans:
            self.services.update(a.value.string_value for a in group.resource.attributes if a.key == "service.name")
            self.spans.extend(span for scope in group.scope_spans for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Collector]]:
    Collector.spans, Collector.services = [], set()
    with web_server(Collector) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield Collector


def parts(answer: httpx.Response) -> dict[str, float]:
    """Return the milliseconds in Server-Timing by name, in their order."""
    return {
        name: float(value) for name, value in re.findall(r"([a-z]+);dur=([0-9.]+)", answer.headers["server-timing"])
    }


def test_server_timing_is_in_every_answer(trained: Path, digits):
    picture = png(digits[0][0, 0].numpy())
    with listening(trained / "zoo", max_body=4096) as client:
        start = time.perf_counter()
        predicted = client.post("/v1/models/digits_cnn/predict", content=picture, headers={"content-type": "image/png"})
        waited = 1000 * (time.perf_counter() - start)
        assert predicted.status_code == 200
        found = parts(predicted)
        assert list(found) == ["decode", "queue", "compute", "total"]
        assert 0 < found["decode"] + found["queue"] + found["compute"] <= found["total"] + 0.03 < waited + 0.03
        inferred = client.post(
            "/v2/models/digits_cnn/infer",
            content=digits[0][:3].numpy().tobytes(),
            headers={"inference-header-content-length": "0"},
        )
        assert list(parts(inferred)) == ["decode", "queue", "compute", "total"]
        for path in ("/models", "/nowhere", "/", "/models/digits_cnn.onnx"):
            assert list(parts(client.get(path))) == ["total"]
        large = client.post("/v1/models/digits_cnn/predict", content=bytes(5000), headers={"content-type": "image/png"})
        assert (large.status_code, list(parts(large))) == (413, ["total"])
        assert "traceresponse" not in predicted.headers


def test_a_trace_has_the_parts_and_continues_the_clients(trained: Path, digits, collector: type[Collector]):
    picture = png(digits[0][0, 0].numpy())
    with listening(trained / "zoo") as client:
        headers = {"content-type": "image/png", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        answer = client.post("/v1/models/digits_cnn/predict", content=picture, headers=headers)
        assert answer.status_code == 200
        assert client.get("/secret/path").status_code == 404
    # The service has stopped, and has sent what was left.
    by_name = {span.name: span for span in collector.spans}
    assert set(by_name) == {"POST /v1/models/{model}/predict", "GET other", "decode", "queue", "compute"}
    assert collector.services == {"cnnzoo"}
    request = by_name["POST /v1/models/{model}/predict"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    found = parts(answer)
    for name in ("decode", "queue", "compute"):
        span = by_name[name]
        assert (span.trace_id, span.parent_span_id) == (request.trace_id, request.span_id)
        assert request.start_time_unix_nano <= span.start_time_unix_nano + 2e5
        assert span.end_time_unix_nano <= request.end_time_unix_nano + 2e5
        assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6 == pytest.approx(found[name], abs=0.02)
    assert by_name["decode"].end_time_unix_nano <= by_name["queue"].start_time_unix_nano + 2e5


def test_no_name_and_no_host_leaves_a_request_without_its_span(
    trained: Path, digits, collector: type[Collector], tmp_path: Path
):
    """Probes alone have no span. The stock middleware compares the whole URL, with the Host that a client sends."""
    picture, path = png(digits[0][0, 0].numpy()), "/v1/models/metrics_cnn/predict"
    place(tmp_path, 1, trained / "zoo/digits_cnn/1/model.onnx", name="metrics_cnn")
    with listening(tmp_path) as client:
        for host in (client.base_url.netloc.decode(), "x/metrics"):
            headers = {"content-type": "image/png", "host": host}
            assert client.post(path, content=picture, headers=headers).status_code == 200
        assert client.get("/v2/health/ready").status_code == client.get("/metrics").status_code == 200
    names = sorted(span.name for span in collector.spans)
    assert names == sorted(2 * ["POST /v1/models/{model}/predict", "decode", "queue", "compute"])


@pytest.mark.slow
def test_a_collector_that_is_away_does_no_harm(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with listening(trained / "zoo") as client:
        for _ in range(20):
            assert client.get("/models").status_code == 200


def test_a_protocol_that_is_not_spoken_is_said(
    trained: Path, monkeypatch: pytest.MonkeyPatch, collector: type[Collector], caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with listening(trained / "zoo") as client:
        client.get("/models").raise_for_status()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc: set it to http/protobuf" in caplog.text
    assert collector.spans == []


def test_the_protocol_of_traces_goes_before_the_general_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch, collector: type[Collector]
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    with listening(trained / "zoo") as client:
        client.get("/models").raise_for_status()
    assert [span.name for span in collector.spans] == ["GET /models"]


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_two_variables_turn_traces_off(
    trained: Path, monkeypatch: pytest.MonkeyPatch, collector: type[Collector], name: str, value: str
):
    monkeypatch.setenv(name, value)
    with listening(trained / "zoo") as client:
        client.get("/models").raise_for_status()
    assert collector.spans == []
