"""The peers of benchmarks/serving.py: what each needs, how it is started, and which payloads it takes.

A peer's server is one small file in this folder, written as the peer's own documentation has it, with access logs off.
Its packages are in a text file beside it. Each file's directory is on the server's path, and MODEL, PORT and WORKERS
are in its environment.
"""

from dataclasses import dataclass, field

from wires import CNNZOO_PICTURE, V2_BINARY, V2_JSON, Wire, form, nested, nothing, octets, one_nested, picture


@dataclass(frozen=True)
class Peer:
    """One server.

    Args:
        command: that starts it; {bin} is its environment's, and {port} one of the ports that are free.
        wires: how it takes each payload; one that it has no way for is not there.
        requirements: name of the text file with its packages; None is this project's own environment.
        env: for its process.
    """

    command: str
    wires: dict[str, Wire]
    requirements: str | None
    env: dict[str, str] = field(default_factory=dict)


def _bentoml(module: str, **wires: Wire) -> Peer:
    command = f"{{bin}}/bentoml serve {module}:Service --working-dir {{peers}} --host 127.0.0.1 --port {{port}}"
    return Peer(command, wires, "bentoml")


def _uvicorn(module: str, **wires: Wire) -> Peer:
    command = f"{{bin}}/uvicorn {module}:app --port {{port}} --workers {{workers}} --no-access-log"
    return Peer(command, wires, "fastapi")


PEERS = {
    "cnnzoo": Peer(
        "{bin}/python -m cnnzoo.serve --zoo {zoo} --port {port} --workers {workers}",
        {"tensor": V2_BINARY, "json": V2_JSON, "png": CNNZOO_PICTURE, "batch": V2_BINARY},
        None,
    ),
    "bentoml": _bentoml("bentoml_plain", json=nested("/tensor"), png=form("/picture")),
    "bentoml_batched": _bentoml("bentoml_batched", json=nested("/tensor")),
    "fastapi": _uvicorn(
        "fastapi_app", tensor=octets("/tensor"), json=nested("/json"), png=picture("/picture"), batch=octets("/tensor")
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
    "bentoml_empty": _bentoml("bentoml_empty", empty=nothing("/nothing")),
    "uvicorn_empty": _uvicorn("uvicorn_empty", empty=nothing("/")),
}
