"""docs/speed.md, from what the serving benchmarks left: serving.json, serving_growth.json and soak.json.

python benchmarks/serving.py && python benchmarks/serving_growth.py && python benchmarks/soak.py
python benchmarks/speed_page.py
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs/speed.md"
OURS, LIMIT = "cnnzoo", "onnxruntime"
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
    "bentoml_batched": "BentoML, `batchable=True`",
    "litserve": "LitServe",
    "mlserver": "MLServer",
    "kserve": "KServe's Python server",
    "onnxruntime": "*the network alone*",
    "bentoml_empty": "*an empty BentoML service*",
    "uvicorn_empty": "*an empty route on uvicorn*",
}
GROWTH = {
    "versions": "A zoo of more and more versions, each asked once; 16 are in memory at once",
    "images": "Images in a request, one client in Python, against ONNX Runtime over the same batches",
    "pixels": "Pixels of a picture, one client in Python; 25 million are the limit",
}
COLUMNS = ("requests_per_second", "p50_ms", "p99_ms", "cpu_seconds_per_1000")
HEAD = """# Speed

`python benchmarks/speed_page.py` wrote this page from the figures in [benchmarks/](../benchmarks). They are of two
cores which the load shares with the server, so only ratios travel to other machines. Every server has the same ONNX
file (MNIST's network, 3.2 million parameters), one worker and an environment of its own, and is asked by `wrk`; its
answers are compared with ONNX Runtime's before they are counted. Medians of {rounds} rounds of {seconds} seconds in
which the servers take turns.
"""


def median(rounds: Sequence[dict[str, Any]], column: str) -> float | None:
    values = [figures[column] for figures in rounds if figures.get(column) is not None]
    return statistics.median(values) if values else None


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def load(results: list[dict[str, Any]], payload: str, connections: int) -> str:
    """A line for each server, with what cnnzoo's throughput is in its own."""
    found = {r["peer"]: r["rounds"] for r in results if (r["payload"], r["connections"]) == (payload, connections)}
    ours = median(found[OURS], "requests_per_second")
    rows = []
    for peer, rounds in sorted(found.items(), key=lambda item: -(median(item[1], "requests_per_second") or 0)):
        theirs = median(rounds, "requests_per_second")
        figures = [
            number(median(rounds, c)) for c in ("requests_per_second", "p50_ms", "p99_ms", "cpu_seconds_per_1000")
        ]
        ratio = f"{ours / theirs:.1f}×" if ours and theirs and peer != OURS else ""
        rows.append([PEERS[peer], *figures, ratio])
    return table(("server", "requests/s", "p50 ms", "p99 ms", "CPU s / 1,000", "cnnzoo is"), rows)


def one_client(results: list[dict[str, Any]]) -> str:
    """The latencies of a client that asks one thing after another."""
    rows = []
    for peer in PEERS:
        if peer == LIMIT or peer.endswith("_empty"):
            continue
        cells = []
        for payload in TITLES:
            rounds = [r["rounds"] for r in results if (r["payload"], r["connections"], r["peer"]) == (payload, 1, peer)]
            p50, p99 = ((median(rounds[0], c) if rounds else None) for c in ("p50_ms", "p99_ms"))
            cells.append("–" if p50 is None else f"{number(p50)} / {number(p99)}")
        rows.append([PEERS[peer], *cells])
    alone = [r["rounds"] for r in results if (r["payload"], r["peer"]) == ("tensor", LIMIT)]
    if alone and (rate := median(alone[0], "requests_per_second")):
        rows.append([PEERS[LIMIT], number(1000 / rate), "", "", ""])
    return table(("p50 / p99 ms", "binary", "JSON", "PNG", "64 binary"), rows)


def footprint(servers: list[dict[str, Any]]) -> str:
    rows = [
        [PEERS[s["peer"]], number(median(s["rounds"], "startup_seconds")),
         number(median(s["rounds"], "megabytes"))]
        for s in servers
    ]  # fmt: skip
    return table(("server", "seconds to the first answer", "MB (PSS)"), rows)


def across(results: list[dict[str, Any]]) -> str:
    """Binary here against JSON there, of the servers that were given no way to take binary tensors."""
    found = {(r["peer"], r["payload"]): r["rounds"] for r in results if r["connections"] == 64}
    ours = median(found[OURS, "tensor"], "requests_per_second") or 0
    ratios = [
        f"{PEERS[peer]} {ours / (median(rounds, 'requests_per_second') or ours):.1f}×"
        for (peer, payload), rounds in found.items()
        if payload == "json" and (peer, "tensor") not in found
    ]
    return f"Of what the others manage with JSON, which is all they take here, this is: {'; '.join(ratios)}."


def growth(found: dict[str, list[dict[str, Any]]]) -> str:
    parts = []
    for name, rows in found.items():
        parts.append(f"{GROWTH[name]}:")
        heads = [head.replace("_", " ") for head in rows[0]]
        parts.append(table(heads, [[number(v) for v in row.values()] for row in rows]))
    return "\n\n".join(parts)


def soak(rows: list[dict[str, float]]) -> str:
    minutes = [rows[at : at + 6] for at in range(0, len(rows), 6)]  # a row each ten seconds
    chosen = {1: minutes[0], len(minutes) // 2: minutes[len(minutes) // 2 - 1], len(minutes): minutes[-1]}
    parts = [[f"minute {n}", *(number(median(part, key)) for key in part[0])] for n, part in chosen.items()]
    return table(("", "MB (RSS)", "descriptors", "threads", "requests in 10 s", "errors"), parts)


def page() -> str:
    serving = json.loads((HERE / "serving.json").read_text())
    results, options = serving["results"], serving["options"]
    parts = [HEAD.format(**options), "## 64 connections"]
    for payload, title in TITLES.items():
        parts += [f"### {title}", load(results, payload, 64)]
        parts += [across(results)] if payload == "tensor" else []
    parts += ["## One connection", one_client(results), "## Start and memory", footprint(serving["servers"])]
    parts += ["Memory is that after all the load above.", "## As it grows"]
    parts += [growth(json.loads((HERE / "serving_growth.json").read_text()))]
    parts += ["## Full load, for long", soak(json.loads((HERE / "soak.json").read_text()))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"Wrote {PAGE}")
