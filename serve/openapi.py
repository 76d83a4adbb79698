"""The service in OpenAPI 3.1: what /openapi.json answers and /docs shows."""

from typing import Any

from ..contract import __version__
from ..contract.names import HEADER_LENGTH, INPUT, OUTPUTS
from .limits import MAX_FILES, MAX_IMAGES
from .settings import ServeSettings

Json = dict[str, Any]

TEXT = """Image-classifying CNNs, each in one self-describing ONNX file. Three ways to use them:
send pictures (`predict`), send tensors (`infer`, the Open Inference Protocol), or download a model and run it
yourself."""


def load_openapi(settings: ServeSettings) -> Json:
    """The whole description. Which security it names depends on whether an API key is set."""
    models = {
        "": [_name()],
        "/versions/{version}": [_name(), _parameter("version", "path", {"type": "integer", "minimum": 1}, "e.g. 1")],
    }
    paths: Json = {
        "/": {"get": _page()},
        "/page/{file}": {"get": _page_file()},
        "/models": {"get": _list_models()},
        "/v2": {"get": _server()},
        "/v2/health/live": {"get": _probe("Whether the process runs", {"live": True})},
        "/v2/health/ready": {"get": _probe("Whether there is a model to ask", {"ready": True}, 503)},
        "/v2/repository/index": {"post": _index()},
        "/classify": {"post": _classify()},
        "/livez": {"get": _text("Whether the process runs")},
        "/readyz": {"get": _text("Whether there is a model to ask", 503)},
        "/metrics": {"get": _text("Requests, latencies, batches and queues in Prometheus' format")},
        "/openapi.json": {"get": _text("This description", media="application/json")},
        "/docs": {"get": _text("This description to read and to try", media="text/html")},
    }
    for version, parameters in models.items():
        paths[f"/models/{{model}}{version}.onnx"] = {"parameters": parameters, "get": _download(), "head": _download()}
        paths[f"/models/{{model}}{version}"] = {"parameters": parameters, "get": _card()}
        paths[f"/v1/models/{{model}}{version}/predict"] = {"parameters": parameters, "post": _predict()}
        paths[f"/v2/models/{{model}}{version}/infer"] = {"parameters": parameters, "post": _infer()}
        paths[f"/v2/models/{{model}}{version}/ready"] = {"parameters": parameters, "get": _model_ready()}
        paths[f"/v2/models/{{model}}{version}"] = {"parameters": parameters, "get": _metadata()}
    secured = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if settings.api_key else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "cnnzoo", "version": __version__, "description": TEXT, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": SCHEMAS, "responses": {"Error": _error()}, **secured},
        **({"security": [{"key": []}]} if secured else {}),
    }


SCHEMAS: Json = {
    "Error": {
        "type": "object",
        "required": ["error", "code", "request_id"],
        "additionalProperties": False,
        "properties": {
            "error": {"type": "string", "description": "What was wrong and what would be right."},
            "code": {"type": "string", "description": "The same for programs."},
            "request_id": {"type": "string", "description": "Also in X-Request-ID, and in the log."},
        },
    },
    "Class": {
        "type": "object",
        "required": ["label", "class", "probability"],
        "properties": {
            "label": {"type": "string"},
            "class": {"type": "integer", "minimum": 0},
            "probability": {"type": "number", "minimum": 0, "maximum": 1.00001},
        },
    },
    "Prediction": {
        "type": "object",
        "description": "A picture's likeliest classes, or why it could not be used.",
        "required": ["index", "file"],
        "properties": {
            "index": {"type": "integer", "description": "Of the picture in the request, from 0."},
            "file": {"type": "string"},
            "classes": {"type": "array", "items": {"$ref": "#/components/schemas/Class"}},
            "input": {"type": "string", "description": "With show_input: the network's input, as a data: address."},
            "error": {"type": "string"},
            "code": {"type": "string"},
        },
    },
    "Predictions": {
        "type": "object",
        "required": ["model", "version", "predictions", "milliseconds"],
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
            "milliseconds": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    },
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape"],
                    "properties": {
                        "name": {"const": INPUT},
                        "datatype": {"const": "UINT8"},
                        "shape": {
                            "type": "array",
                            "items": {"type": "integer", "minimum": 1},
                            "description": f"[N, C, H, W], N from 1 to {MAX_IMAGES}",
                        },
                        "data": {"type": "array", "description": "Raw pixels 0-255, flat or nested as the shape."},
                        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer"}}},
                    },
                },
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"enum": list(OUTPUTS)},
                        "parameters": {
                            "type": "object",
                            "properties": {
                                "binary_data": {"type": "boolean"},
                                "classification": {"type": "integer", "minimum": 0},
                            },
                        },
                    },
                },
            },
        },
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name", "datatype", "shape"]}},
        },
    },
    "Model": {
        "type": "object",
        "required": ["name", "version", "classes", "input", "metrics", "size", "sha256", "links"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "integer"},
            "classes": {"type": "array", "items": {"type": "string"}},
            "size": {"type": "integer", "description": "Bytes of the file."},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        },
    },
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _error() -> Json:
    return {"description": "What was wrong, and what would be right.", "content": _json(_ref("Error"))}


def _json(schema: Json, example: Any = None) -> Json:
    return {"application/json": {"schema": schema, **({} if example is None else {"example": example})}}


def _parameter(name: str, place: str, schema: Json, text: str, required: bool | None = None) -> Json:
    needed = place == "path" if required is None else required
    return {"name": name, "in": place, "required": needed, "schema": schema, "description": text}


def _name() -> Json:
    return _parameter("model", "path", {"type": "string", "maxLength": 64}, "a name that GET /models lists")


def _operation(summary: str, tag: str, ok: Json, *errors: int, **more: Any) -> Json:
    """An operation with one successful answer; any may also be 401, 503 and 504."""
    refused = {str(status): {"$ref": "#/components/responses/Error"} for status in sorted({401, 503, 504, *errors})}
    return {"summary": summary, "tags": [tag], "responses": {"200": ok, **refused}, **more}


def _answer(text: str, schema: Json, example: Any = None) -> Json:
    return {"description": text, "content": _json(schema, example)}


def _list_models() -> Json:
    models = {"type": "array", "items": _ref("Model")}
    schema = {
        "type": "object",
        "required": ["models", "refused"],
        "properties": {"models": models, "refused": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    return _operation("Every model and version, and why a file is not among them", "models", _answer("A list", schema))


def _card() -> Json:
    text = "What /models says of it, and how it was made, what it confuses and how it does on worse pictures"
    return _operation("All that a model says of itself", "models", _answer(text, _ref("Model")), 404)


def _download() -> Json:
    binary = {"schema": {"type": "string", "format": "binary"}}
    ok = {
        "description": "The file",
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "The file's SHA-256 in hex, quoted"},
            "Repr-Digest": {"schema": {"type": "string"}, "description": "The same in base64 (RFC 9530)"},
        },
        "content": {"application/octet-stream": binary},
    }
    headers = [
        _parameter("If-None-Match", "header", {"type": "string"}, "the ETag of the file that one has"),
        _parameter("Range", "header", {"type": "string"}, "one range, to go on with a broken-off download"),
        _parameter("If-Range", "header", {"type": "string"}, "the ETag of the file that it was a part of"),
    ]
    operation = _operation("Download the ONNX file", "models", ok, 400, 404, 416, parameters=headers)
    part = {"description": "The range asked for", "content": {"application/octet-stream": binary}}
    operation["responses"] |= {"206": part, "304": {"description": "One has it already"}}
    return operation


def _predict() -> Json:
    picture = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "array", "maxItems": MAX_FILES, "items": {"type": "string", "format": "binary"}}
        },
    }
    query = [
        _parameter("top_k", "query", {"type": "integer", "minimum": 1, "maximum": 99999, "default": 3}, "classes"),
        _parameter(
            "prepare", "query", {"enum": ["auto", "none"], "default": "auto"},
            "auto: handwriting is looked for on the picture and framed as the network's dataset was made",
        ),
        _parameter("show_input", "query", {"enum": ["false", "true"], "default": "false"}, "answer with the input too"),
    ]  # fmt: skip
    classes = [{"label": "7", "class": 7, "probability": 0.998}, {"label": "1", "class": 1, "probability": 0.001}]
    example = {
        "model": "mnist_cnn",
        "version": 1,
        "predictions": [{"index": 0, "file": "body", "classes": classes}],
        "milliseconds": {"receive": 0.1, "decode": 0.3, "inference": 1.1, "total": 1.5},
    }
    body = {"image/png": picture, "image/jpeg": picture, "multipart/form-data": {"schema": form}}
    return _operation(
        "What is in these pictures?", "pictures", _answer("Top-k classes of each", _ref("Predictions"), example),
        400, 404, 408, 413, 415, 422, 429,
        parameters=query, requestBody={"required": True, "content": body},
    )  # fmt: skip


def _infer() -> Json:
    example = {"inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [1, 1, 8, 8], "data": [0] * 64}]}
    binary = {"schema": {"type": "string", "format": "binary"}}
    header = _parameter(
        HEADER_LENGTH, "header", {"type": "integer", "minimum": 0},
        "bytes of JSON before binary tensors; 0: the body is raw pixels alone; left out: the body is JSON alone",
    )  # fmt: skip
    operation = _operation(
        "Tensors in, tensors out", "tensors",
        _answer("The outputs", _ref("InferenceResponse")), 400, 404, 408, 413, 429,
        parameters=[header],
        requestBody={
            "required": True,
            "content": {**_json(_ref("InferenceRequest"), example), "application/octet-stream": binary},
        },
    )  # fmt: skip
    operation["responses"]["200"]["content"]["application/octet-stream"] = binary
    return operation


def _metadata() -> Json:
    return _operation(
        "A model's inputs and outputs", "tensors", _answer("As the protocol has it", {"type": "object"}), 404
    )


def _model_ready() -> Json:
    return _operation("Whether a model can be asked", "tensors", _answer("It can", {"type": "object"}), 404)


def _server() -> Json:
    return _operation("The server and its protocol extensions", "tensors", _answer("Its name", {"type": "object"}))


def _index() -> Json:
    schema = {"type": "array", "items": {"type": "object", "required": ["name", "version", "state"]}}
    return _operation("The models, as Triton lists them", "tensors", _answer("A list", schema), 413)


def _classify() -> Json:
    properties = {
        "model": {"type": "string", "maxLength": 64},
        "images": {"type": "array", "description": "[N, C, H, W], raw pixels 0-255"},
        "version": {"type": ["integer", "null"]},
        "top_k": {"type": "integer", "minimum": 1, "maximum": 99999},
    }
    schema = {"type": "object", "required": ["model", "images"], "properties": properties}
    classes = {"type": "array", "items": {"type": "array", "items": _ref("Class")}}
    return _operation(
        "BentoML's own API, for bentoml.SyncHTTPClient", "tensors", _answer("Top-k classes of every image", classes),
        400, 404, 408, 413, 415, 429, requestBody={"required": True, "content": _json(schema)},
    )  # fmt: skip


def _probe(summary: str, example: Json, *errors: int) -> Json:
    return _operation(summary, "operations", _answer("Yes", {"type": "object"}, example), *errors)


def _text(summary: str, *errors: int, media: str = "text/plain") -> Json:
    return _operation(summary, "operations", {"description": "OK", "content": {media: {}}}, *errors)


def _page() -> Json:
    return _text("The page to draw digits on and drop photos onto", media="text/html")


def _page_file() -> Json:
    operation = _text("A file of the page", 404, media="*/*")
    return {**operation, "parameters": [_parameter("file", "path", {"type": "string"}, "its name")]}
