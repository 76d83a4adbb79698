"""The servers that benchmarks/serving.py compares: packages, command and protocol of each.

A peer's server is one small file in this folder, written after the peer's own documentation, without access logs.
Its packages are in a text file beside it. This folder is on the server's path. The environment has MODEL, PORT and
WORKERS.
"""

from dataclasses import dataclass, field

from protocols import CNNZOO_IMAGE, V2_BINARY, V2_JSON, Protocol, form, nested, octets, one_nested, png


@dataclass(frozen=True)
class Peer:
    """Server to compare with.

    Args:
        command: starts the server; {bin} is its environment's folder, {port} a free port.
        protocols: by payload. A payload that the server cannot take is left out.
        requirements: name of the text file with its packages; None for this project's own environment.
        env: environment variables of its process.
    """

    command: str
    protocols: dict[str, Protocol]
    requirements: str | None
    env: dict[str, str] = field(default_factory=dict)


def _bentoml(module: str, **protocols: Protocol) -> Peer:
    command = f"{{bin}}/bentoml serve {module}:Service --working-dir {{peers}} --host 127.0.0.1 --port {{port}}"
    return Peer(command, protocols, "bentoml")


PEERS = {
    "cnnzoo": Peer(
        "{bin}/python -m cnnzoo.serve --zoo {zoo} --port {port} --workers {workers}",
        {"tensor": V2_BINARY, "json": V2_JSON, "png": CNNZOO_IMAGE, "batch": V2_BINARY},
        None,
    ),
    "bentoml": _bentoml("bentoml_plain", json=nested("/tensor"), png=form("/image")),
    "bentoml_batched": _bentoml("bentoml_batched", json=nested("/tensor")),
    "fastapi": Peer(
        "{bin}/uvicorn fastapi_app:app --port {port} --workers {workers} --no-access-log",
        {"tensor": octets("/tensor"), "json": nested("/json"), "png": png("/image"), "batch": octets("/tensor")},
        "fastapi",
    ),
    "litserve": Peer(
        "{bin}/python {peers}/litserve_api.py", {"json": one_nested("/predict"), "png": form("/predict")}, "litserve"
    ),
    "mlserver": Peer(
        "{bin}/mlserver start .",
        {"json": V2_JSON},
        "mlserver",
        {
            "MLSERVER_MODEL_NAME": "{name}",
            "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_runtime.Runtime",
            "MLSERVER_MODEL_URI": "{model}",
            "MLSERVER_PARALLEL_WORKERS": "{workers}",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{second_port}",
            "MLSERVER_METRICS_PORT": "{third_port}",
        },
    ),
    "kserve": Peer(
        "{bin}/python {peers}/kserve_model.py --model_name {name} --http_port {port} --workers {workers}"
        " --enable_grpc false --enable_latency_logging false",
        {"tensor": V2_BINARY, "json": V2_JSON, "batch": V2_BINARY},
        "kserve",
    ),
}
