"""Requests a second over gRPC and over HTTP, of one image in binary to the shipped MNIST CNN.

    python benchmarks/grpc_and_http.py [--calls 1 64] [--rounds 3]

One server offers both. h2load (apt-get install nghttp2-client) keeps a number of calls in flight, by turns over:

- http: HTTP/1.1, one call a connection.
- grpc: gRPC, one call a connection.
- grpc_shared: gRPC, all calls in one connection, as a client library sends them.
- grpc_empty: gRPC's ServerLive, which reads and computes nothing: the cost of gRPC itself.
- grpc_read: gRPC's ModelReady, whose message is read, checked and parsed.

An answer over HTTP and one over gRPC are compared with ONNX Runtime's, and the number of calls with those that the
service counted as answered.
CPU time is the server's for 1,000 calls. Needs an otherwise idle machine. Writes benchmarks/grpc_and_http.json.
"""

import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc as triton
from common import machine, median, number, options, output_of, run_alone, save, show, take_turns
from payloads import Payloads, prepare
from peers import Peer
from prometheus_client.parser import text_string_to_metric_families
from protocols import V2_BINARY
from server import Server, free_port
from serving import MODEL, check
from tritonclient.grpc import service_pb2

GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
ROUTES = {
    "http": "/v2/models/{model}/infer",
    "grpc": "grpc:ModelInfer",
    "grpc_shared": "grpc:ModelInfer",
    "grpc_empty": "grpc:ServerLive",
    "grpc_read": "grpc:ModelReady",
}
PEER = Peer(
    "env CNNZOO_GRPC_PORT={grpc} {bin}/python -m cnnzoo serve --zoo {zoo} --port {port}", {"tensor": V2_BINARY}, None
)
COLUMNS = {
    "requests_per_second": "requests/s", "mean_ms": "mean ms", "cpu_seconds_per_1000": "CPU s/1000",
    "images_per_batch": "images a batch",
}  # fmt: skip


def h2load(url: str, body: Path, headers: dict[str, str], seconds: int, *flags: str) -> dict[str, float]:
    """Send one request again and again. Returns requests, requests a second and the mean milliseconds of one."""
    sent = [f"-H{key}: {value}" for key, value in headers.items()]
    command = ["h2load", f"-D{seconds}", "-t1", f"-d{body}", *sent, *flags, url]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    done, failed = map(int, _found(r"(\d+) succeeded, (\d+) failed", text))
    if failed:
        sys.exit(f"{failed} requests failed:\n{text}")
    mean, unit = _found(r"time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)", text)
    scale = {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return {"requests": done, "requests_per_second": done / seconds, "mean_ms": float(mean) * scale}


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"h2load printed no {pattern!r}:\n{text}")
    return match.groups()


def counted(server: Server, name: str, **labels: str) -> int:
    """Return a metric of the service, as the sum over all series with these labels."""
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{server.port}/metrics").text)
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return int(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))


def measure(server: Server, send: Callable[[], dict[str, float]], way: str) -> dict[str, float]:
    """Measure one turn. Exits unless the service answered all calls."""
    answered = partial(counted, server, "cnnzoo_requests_total", route=ROUTES[way], status="200")
    batches = partial(counted, server, "cnnzoo_batch_images_count")
    images = partial(counted, server, "cnnzoo_batch_images_sum")
    server.settle()
    before, batches_before, images_before, cpu = answered(), batches(), images(), server.cpu_seconds()
    figures = send()
    cpu = server.cpu_seconds() - cpu
    server.settle()
    if (good := answered() - before) < figures["requests"]:
        sys.exit(f"{way}: {figures['requests']:.0f} calls ended, and the service answered {good}")
    batch = (images() - images_before) / max(1, batches() - batches_before)
    return {**figures, "cpu_seconds_per_1000": 1000 * cpu / figures["requests"], "images_per_batch": batch}


def message(data: Payloads) -> bytes:
    """Return a ModelInferRequest of one image in its frame."""
    request = service_pb2.ModelInferRequest(model_name=data.name, raw_input_contents=[data.images[0]])
    request.inputs.add(name="images", datatype="UINT8", shape=[1, *data.shape])
    request.outputs.add(name="probabilities")
    return frame(request.SerializeToString())


def frame(message: bytes) -> bytes:
    """Return a message in gRPC's frame: a byte for the compression, four for the length, the message."""
    return struct.pack(">BI", 0, len(message)) + message


def check_grpc(address: str, data: Payloads) -> None:
    """Exit unless the answer to tritonclient is ONNX Runtime's."""
    tensor = triton.InferInput("images", [1, *data.shape], "UINT8")
    tensor.set_data_from_numpy(np.frombuffer(data.images[0], np.uint8).reshape(1, *data.shape))
    with triton.InferenceServerClient(address) as client:
        answer = client.infer(data.name, [tensor]).as_numpy("probabilities")
    if answer is None or not np.allclose(answer[0], data.expected[0], atol=1e-4):
        sys.exit(f"gRPC answered {answer}; expected {data.expected[0]}")


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--calls", nargs="+", type=int, default=[1, 64], help="in flight (default: 1 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement (default: %(default)s)")
    args = parser.parse_args()
    if shutil.which("h2load") is None:
        sys.exit("h2load, the load generator, is missing; install it: apt-get install nghttp2-client")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data = run_alone(prepare, MODEL, work / "zoo")
        port = free_port()
        values = {"name": "", "zoo": data.zoo, "model": "", "workers": 1, "grpc": port}
        with Server(PEER, Path(sys.executable).parent, work, work / "log", values) as server:
            request = V2_BINARY.encode(data.name, data.shape, data.images[0])
            server.wait(request)
            check(server, V2_BINARY, "tensor", data)
            check_grpc(f"127.0.0.1:{port}", data)
            (work / "http").write_bytes(request.body)
            (work / "grpc").write_bytes(message(data))
            (work / "empty").write_bytes(frame(b""))
            (work / "name").write_bytes(frame(service_pb2.ModelReadyRequest(name=data.name).SerializeToString()))
            grpc = f"http://127.0.0.1:{port}/inference.GRPCInferenceService"
            http = partial(
                h2load, f"http://127.0.0.1:{server.port}{request.path}", work / "http", request.headers, args.seconds
            )
            infer = partial(h2load, f"{grpc}/ModelInfer", work / "grpc", GRPC_HEADERS, args.seconds)
            empty = partial(h2load, f"{grpc}/ServerLive", work / "empty", GRPC_HEADERS, args.seconds)
            named = partial(h2load, f"{grpc}/ModelReady", work / "name", GRPC_HEADERS, args.seconds)
            for calls in args.calls:
                send: dict[str, Callable[[], dict[str, float]]] = {
                    "http": partial(http, "--h1", f"-c{calls}"),
                    "grpc": partial(infer, f"-c{calls}"),
                    "grpc_shared": partial(infer, "-c1", f"-m{calls}"),
                    "grpc_empty": partial(empty, f"-c{calls}"),
                    "grpc_read": partial(named, f"-c{calls}"),
                }
                sides = {way: partial(measure, server, one, way) for way, one in send.items()}
                for way, rounds in take_turns(sides, args.rounds).items():
                    rows.append({"calls": calls, "way": way} | {name: median(rounds, name) for name in COLUMNS})
    columns = ("calls", "way", *COLUMNS)
    heads = ("calls in flight", "way", *COLUMNS.values())
    show("gRPC and HTTP", heads, [[str(row[n]) if n == "way" else number(row[n]) for n in columns] for row in rows])
    save(output_of(parser, args, "rounds", "seconds"), {"machine": machine(), "rounds": args.rounds, "results": rows})


if __name__ == "__main__":
    main()
