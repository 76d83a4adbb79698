"""The servers that benchmarks/serving.py compares: packages, command and protocol of each.

A peer's server is one small file in this folder, written after the peer's own documentation, without access logs.
Its packages are in a text file beside it. This folder is on the server's path. The environment has MODEL, PORT and
WORKERS.
"""

from dataclasses import dataclass

from protocols import CNNZOO_IMAGE, V2_BINARY, V2_JSON, Protocol, form, nested, octets, one_nested, png


@dataclass(frozen=True)
class Peer:
    """Server to compare with.

    Args:
        command: starts the server; {bin} is its environment's folder, {port} a free port.
        protocols: by payload. A payload that the server cannot take is left out.
        requirements: name of the text file with its packages; None for this project's own environment.
        npm: the packages are of npm.
    """

    command: str
    protocols: dict[str, Protocol]
    requirements: str | None
    npm: bool = False


PEERS = {
    "cnnzoo": Peer(  # its queue holds 256 connections × 64 images
        "env CNNZOO_MAX_QUEUE=16384 {bin}/python -m cnnzoo serve --zoo {zoo} --port {port} --workers {workers}",
        {"tensor": V2_BINARY, "json": V2_JSON, "png": CNNZOO_IMAGE, "batch": V2_BINARY},
        None,
    ),
    "bentoml": Peer(
        "{bin}/bentoml serve bentoml_plain:Service --working-dir {peers} --host 127.0.0.1 --port {port}",
        {"json": nested("/tensor"), "png": form("/image")},
        "bentoml",
    ),
    "fastapi": Peer(
        "{bin}/uvicorn fastapi_app:app --port {port} --workers {workers} --no-access-log",
        {"tensor": octets("/tensor"), "json": nested("/json"), "png": png("/image"), "batch": octets("/tensor")},
        "fastapi",
    ),
    "litserve": Peer(
        "{bin}/python {peers}/litserve_api.py", {"json": one_nested("/predict"), "png": form("/predict")}, "litserve"
    ),
    "node": Peer(
        "env NODE_PATH={bin}/node_modules node {peers}/node_server.cjs",
        {"tensor": octets("/tensor"), "json": nested("/json"), "png": png("/image"), "batch": octets("/tensor")},
        "node",
        npm=True,
    ),
}
