"""docs/speed.md, from the figures that the benchmarks wrote: `make tables`."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from markdown_table import table

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from common import median, number  # noqa: E402

OURS = "cnnzoo"
TITLES = {
    "tensor": "One image a request, as a binary tensor",
    "json": "One image a request, as JSON",
    "png": "One PNG a request",
    "batch": "Batches of 64, as binary tensors",
}
PEERS = {
    "cnnzoo": "**cnnzoo**",
    "fastapi": "FastAPI, uvicorn, onnxruntime",
    "bentoml": "BentoML, a plain API",
    "litserve": "LitServe",
    "node": "Node, fastify, onnxruntime-node",
}
GROWTH = {
    "versions": "A growing zoo. Each version gets one request; 16 are in memory at once:",
    "images": "Images a second by the size of a request, by one and four connections, and the ratio to ONNX Runtime:",
    "pixels": "Pixels of an image, one client in Python. 25 million are the limit:",
}
HEADS = {
    "models_seconds": "first `GET /models`, s", "models_again_seconds": "second `GET /models`, s",
    "worker_megabytes": "MB of the worker", "one": "1 connection", "several": "4 connections",
    "onnxruntime": "ONNX Runtime",
    "one_ratio": "1 connection ÷ it", "several_ratio": "4 ÷ it",
}  # fmt: skip
COLUMNS = ("requests_per_second", "p50_ms", "p99_ms", "cpu_seconds_per_1000")
HEAD = """# Speed

How fast the service is, compared with other servers. `make tables` wrote this page from the figures in
[benchmarks/](../benchmarks); [training.md](training.md) has the speed of training.

- Machine: two cores, which the load generator shares with the server. Only the ratios hold for other machines.
- The machine is a virtual one, whose speed varies from hour to hour. Compare only figures of one table.
- Every server has the same ONNX file (MNIST's network, 3.2 million parameters), one worker and its own environment.
- cnnzoo and LitServe compute requests that arrive together as one batch, on both cores. FastAPI and Node compute each
  alone with one thread of ONNX Runtime, several at once. BentoML computes one at a time, on both cores.
- The load generator is `wrk`. A server's answers are compared with ONNX Runtime's before it is measured.
- The servers take turns. Their figures are medians of {rounds} rounds of {seconds} seconds. Growing input and full load
  were measured once.

```sh
# the comparison of servers, which needs wrk, node and npm; --against CHECKOUT compares two versions of cnnzoo
python benchmarks/serving.py --connections 1 64 --seconds {seconds}
python benchmarks/serving_growth.py    # growing input, and ten minutes of full load
python benchmarks/variants.py          # by precision
```
"""
SOAK = "Three of the shipped networks, which are all in memory, by 32 connections each:"
INSIDE = """
Times and sizes of the inspection routes' responses (`python benchmarks/looking_inside.py`). The server has one core.
The first `layers` opens the file a second time. `inspect` answers with the values of all layers, as the page asks for
them while one draws. `explain` classifies the image once for each position of the square:
"""
NEIGHBORS = """
Predictions of `mnist_cnn`, one image in binary, by 16 connections on two cores, alone and beside one client that asks
about the same model without a pause:
"""
MAPS = """
While one draws with *Look inside* open, the page updates the maps of `{model}` {updates_a_second:.1f} times a second.
Service and browser share one core without a GPU here (`python benchmarks/page_maps.py`).
"""
SCORING = """
`cnnzoo predict NAME FOLDER --output answers.csv`, from start to end, compared with what one would write by hand: a pool
of processes that decode with Pillow and ask ONNX Runtime (`python benchmarks/batch_scoring.py`). cnnzoo also takes
photos for CIFAR-10 networks through a JPEG. MB is the memory of the largest process, for a tenth of the images and for
all:
"""
GRPC = """
One image in binary to `mnist_cnn`, by `h2load` (`python benchmarks/grpc_and_http.py`; commit {commit}):
"""
GRPC_END = """
gRPC is slower, for two reasons. With {calls} calls in flight, gRPC's server for Python takes {share:.0%} of the CPU
time of a whole HTTP request for a call that it answers unread. And it hands over one call at a time. Requests over HTTP
that arrive together share a batch of {http:.0f} images on average, calls over gRPC one of {grpc:.0f}. A small batch
takes more time an image, and each batch has to change threads.
"""
WAYS = {
    "http": "HTTP/1.1, a connection for each call",
    "grpc": "gRPC, a connection for each call",
    "grpc_shared": "gRPC, one connection",
    "grpc_read": "gRPC, calls that are read and compute nothing",
    "grpc_empty": "gRPC, calls that are answered unread",
}
PRECISION = """
`cnnzoo export --config RUN --quantize int8` and `--fp16 true` write smaller files, if they classify nearly as many
validation images correctly. The figures are medians of 15 turns with ONNX Runtime alone on held-out images, and ratios
to fp32, on two cores of an Intel Xeon with avx512_vnni (`python benchmarks/variants.py`):
"""
PRECISION_END = """
- `cifar10_speednet` looks at unsure images in six views, and at the others in one. With six views of every image it is
  as accurate, and takes 2.5 times as long.
- int8 is smaller for all networks, and faster in both columns for the SpeedNets and `cifar10_resnet20`. That of
  `cifar10_resnet20` would be refused: it loses more than 0.3 points. The layers of the others are too small, or dense.
- The int8 file of the largest network is shipped. The zoo may weigh 45 MB at most.
- fp16 halves large files. It is slower here, so no fp16 file is shipped.
"""


def versions(serving: dict[str, Any]) -> str:
    """Return what was measured: the commit, and the releases of ONNX Runtime and of the peers."""
    commit = serving["machine"].get("commit", "unknown")[:8]
    named = [f"{name} {version}" for found in serving["versions"].values() for name, version in found.items()]
    return f"The comparison of servers: commit {commit}; {', '.join(dict.fromkeys(named))}."


def load(results: list[dict[str, Any]], payload: str, connections: int) -> str:
    """Return a row for each server, with the ratio of cnnzoo's throughput to its own."""
    cell = (payload, connections)
    found = {r["peer"]: r["rounds"] for r in results if (r["payload"], r["connections"]) == cell}
    ours = median(found[OURS], "requests_per_second")
    rows = []
    for peer, rounds in sorted(found.items(), key=lambda item: -(median(item[1], "requests_per_second") or 0)):
        theirs = median(rounds, "requests_per_second")
        figures = [number(median(rounds, column)) for column in COLUMNS]
        ratio = f"{ours / theirs:.1f}×" if ours and theirs and peer != OURS else ""
        rows.append([PEERS[peer], *figures, ratio])
    return table(("server", "requests/s", "p50 ms", "p99 ms", "CPU s / 1,000", "cnnzoo is"), rows)


def one_client(results: list[dict[str, Any]]) -> str:
    """Return the latencies of a client that sends one request at a time."""
    rows = []
    measured = {result["peer"] for result in results}
    for peer, title in PEERS.items():
        if peer not in measured:
            continue
        cells = []
        for payload in TITLES:
            rounds = [r["rounds"] for r in results if (r["payload"], r["connections"], r["peer"]) == (payload, 1, peer)]
            p50, p99 = ((median(rounds[0], c) if rounds else None) for c in ("p50_ms", "p99_ms"))
            cells.append("–" if p50 is None else f"{number(p50)} / {number(p99)}")
        rows.append([title, *cells])
    return table(("p50 / p99 ms", "binary", "JSON", "PNG", "64 binary"), rows)


def faster(results: list[dict[str, Any]]) -> str:
    """Return which servers answer one client sooner than cnnzoo, by their median."""
    p50 = {
        (r["payload"], r["peer"]): median(r["rounds"], "p50_ms") or math.inf for r in results if r["connections"] == 1
    }
    found = []
    for payload, title in TITLES.items():
        ours = p50[payload, OURS]
        sooner = [PEERS[peer].split(",")[0] for peer in PEERS if p50.get((payload, peer), math.inf) < ours]
        if sooner:
            found.append(f"{title[0].lower()}{title[1:]}: {', '.join(sooner)}")
    return f"Faster than cnnzoo with one connection: {'; '.join(found) or 'none'}."


def footprint(servers: list[dict[str, Any]]) -> str:
    """Return start-up and memory of each server."""
    rows = [
        [PEERS[s["peer"]], number(median(s["rounds"], "startup_seconds")), number(median(s["rounds"], "megabytes"))]
        for s in servers
    ]
    return table(("server", "seconds to the first response", "MB (PSS)"), rows)


def growth(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a table for each kind of growing input."""
    parts = []
    for name, rows in found.items():
        heads = [HEADS.get(head, head.replace("_", " ")) for head in rows[0]]
        parts += [GROWTH[name], table(heads, [[number(value) for value in row.values()] for row in rows])]
    return "\n\n".join(parts)


def soak(rows: list[dict[str, float]]) -> str:
    """Return the first, the middle and the last minute of full load."""
    minutes = [rows[at : at + 6] for at in range(0, len(rows), 6)]  # a row for every ten seconds
    chosen = {1: minutes[0], len(minutes) // 2: minutes[len(minutes) // 2 - 1], len(minutes): minutes[-1]}
    cells = [[f"minute {n}", *(number(median(part, key)) for key in part[0])] for n, part in chosen.items()]
    return table(("", "MB (RSS)", "descriptors", "threads", "requests in 10 s", "errors"), cells)


def inside(rows: list[dict[str, Any]]) -> str:
    """Return time and size of the answers about each model."""
    cells = []
    for row in rows:
        pairs = [
            f"{number(row[f'{what}_ms'])} / {number(row[f'{what}_kB'])}" for what in ("layers", "inspect", "explain")
        ]
        cells.append([f"`{row['model']}`", number(row["first_ms"]), *pairs])
    return table(("ms / kB", "first `layers`, ms", "`layers`", "`inspect`", "`explain`"), cells)


def neighbors(rows: list[dict[str, Any]]) -> str:
    """Return the speed of predictions beside each kind of asking."""
    keys = ("requests_per_second", "p50_ms", "p99_ms", "asked_per_second")
    cells = [[row["beside"], *(number(row[key]) for key in keys)] for row in rows]
    return table(("beside", "requests/s", "p50 ms", "p99 ms", "asked a second"), cells)


def scoring(rows: list[dict[str, Any]]) -> str:
    """Return the speed and the memory of scoring each kind of image."""
    cells = [
        [f"{row['images']:,} of {row['kind']}", f"`{row['model']}`", number(row["plain_a_second"]),
         number(row["predict_a_second"]), f"{row['ratio']:.2f}×",
         f"{number(row['megabytes_for_a_tenth'])} / {number(row['megabytes'])}"]
        for row in rows
    ]  # fmt: skip
    return table(("images", "network", "by hand, images/s", "cnnzoo, images/s", "cnnzoo is", "MB"), cells)


def grpc(rows: list[dict[str, Any]]) -> str:
    """Return the speed of HTTP and of gRPC by the number of calls in flight, and the reason."""
    columns = ("requests_per_second", "mean_ms", "cpu_seconds_per_1000", "images_per_batch")
    cells = [[WAYS[row["way"]], str(row["calls"]), *(number(row[c] or None) for c in columns)] for row in rows]
    calls = max(row["calls"] for row in rows)
    most = {row["way"]: row for row in rows if row["calls"] == calls}
    share = most["grpc_empty"]["cpu_seconds_per_1000"] / most["http"]["cpu_seconds_per_1000"]
    batches = {way: most[way]["images_per_batch"] for way in ("http", "grpc")}
    text = GRPC_END.format(calls=calls, share=share, **batches)
    heads = ("", "calls", "requests/s", "mean ms", "CPU s / 1,000", "images a batch")
    return table(heads, cells) + "\n\n" + text.strip()


def precision(rows: list[dict[str, Any]]) -> str:
    """Return size, accuracy and speed of each file, with ratios to the fp32 file above it."""
    cells, full = [], rows[0]
    for row in rows:
        full = row if row["precision"] == "fp32" and "," not in row["model"] else full
        name, *views = row["model"].split(",")
        cells.append([
            ",".join([f"`{name}`", *views]),
            f"{row['bytes'] / 1e6:.2f} ({row['bytes'] / full['bytes']:.2f}×)",
            f"{row['accuracy']:.2%} ({100 * (row['accuracy'] - full['accuracy']):+.2f})",
            f"{row['milliseconds']:.2f} ({row['milliseconds'] / full['milliseconds']:.2f}×)",
            f"{row['images_a_second']:,.0f} ({row['images_a_second'] / full['images_a_second']:.2f}×)",
        ])  # fmt: skip
    return table(("file", "MB", "held-out accuracy", "ms, one image", "images/s, batches of 64"), cells)


def pages() -> dict[Path, str]:
    """Return the expected text of docs/speed.md."""
    serving, growing, soaked, looking, variants, maps, scored, rpc = (
        _figures(name)
        for name in (
            "serving",
            "serving_growth",
            "soak",
            "looking_inside",
            "variants",
            "page_maps",
            "batch_scoring",
            "grpc_and_http",
        )
    )
    results = serving["results"]
    parts = [HEAD.format(**serving["options"]), versions(serving), "## 64 connections"]
    for payload, title in TITLES.items():
        parts += [f"### {title}", load(results, payload, 64)]
    parts += ["## One connection", one_client(results), faster(results)]
    parts += ["## Start and memory", footprint(serving["servers"]), "Memory is measured after all the load above."]
    parts += ["## Growing input", growth(growing)]
    parts += ["## gRPC", GRPC.format(commit=rpc["machine"].get("commit", "unknown")[:8]), grpc(rpc["results"])]
    parts += ["## Ten minutes of full load", SOAK, soak(soaked)]
    parts += ["## Looking inside", INSIDE, inside(looking["answers"]), NEIGHBORS, neighbors(looking["neighbors"])]
    parts += [MAPS.format(**maps)]
    parts += ["## Scoring many images", SCORING, scoring(scored["rows"])]
    parts += ["## Precision", PRECISION, precision(variants), PRECISION_END]
    return {ROOT / "docs/speed.md": "\n\n".join(part.strip() for part in parts) + "\n"}


def _figures(name: str) -> Any:
    path = ROOT / "benchmarks" / f"{name}.json"
    if not path.is_file():
        sys.exit(f"{path} is missing: run `git checkout {path.relative_to(ROOT)}`, or its script")
    return json.loads(path.read_text())
