"""Test the OpenAPI description: it is valid, equals the code's routes and limits, and the service keeps to it."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import httpx
import openapi_spec_validator
import pytest
import schemathesis
from helpers import server_processes
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cnnzoo.contract import __version__
from cnnzoo.contract.card import RENAMED, ModelCard, Precision
from cnnzoo.contract.names import HEADER_LENGTH, INPUT, OUTPUTS
from cnnzoo.serve.api_key import OPEN, OPEN_FOLDERS
from cnnzoo.serve.bento_routes import CLASSIFY
from cnnzoo.serve.limits import MAX_FILES, MAX_IMAGES
from cnnzoo.serve.routes import create_routes
from cnnzoo.serve.routes.models import CARD_ONLY
from cnnzoo.serve.routes.openapi import load_openapi
from cnnzoo.serve.settings import read_settings

DESCRIPTION = load_openapi(read_settings())
SCHEMAS = DESCRIPTION["components"]["schemas"]


def operation(path: str, method: str) -> dict[str, Any]:
    return DESCRIPTION["paths"][path][method]


def test_it_is_valid_and_served(client: httpx.Client):
    served = client.get("/openapi.json").json()
    assert served["openapi"].startswith("3.1")
    assert served["info"]["version"] == __version__
    openapi_spec_validator.validate(served)


def test_the_security_scheme_is_there_if_a_key_is_set():
    assert "security" not in DESCRIPTION
    assert "securitySchemes" not in DESCRIPTION["components"]
    locked = load_openapi(read_settings(api_key="open-sesame"))
    openapi_spec_validator.validate(locked)
    assert locked["security"] == [{"key": []}]
    assert locked["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}


def test_what_needs_no_key_says_so():
    for path, operations in DESCRIPTION["paths"].items():
        for method, described in operations.items():
            if method == "parameters":
                continue
            is_open = path in OPEN or path.startswith(OPEN_FOLDERS)
            assert described.get("security") == ([] if is_open else None), path
            assert ("401" in described["responses"]) is not is_open, path


def test_every_route_is_described_and_every_description_is_of_a_route():
    described = {
        (path, method.upper())
        for path, operations in DESCRIPTION["paths"].items()
        for method in operations
        if method != "parameters"
    }
    routed = {
        (route.path.replace(":path", ""), method)
        for route in create_routes()
        if route.include_in_schema
        for method in route.methods or ()
    }
    routed.add((CLASSIFY, "POST"))
    # Starlette answers HEAD wherever it answers GET. Only for downloads HEAD is worth a description.
    assert {method for _, method in routed - described} == {"HEAD"}
    assert described - routed == set()
    assert {path for path, method in described if method == "HEAD"} == {p for p, _ in described if p.endswith(".onnx")}


def test_the_limits_are_those_of_the_code():
    for prefix in ("/v1/models/{model}", "/v1/models/{model}/versions/{version}"):
        form = operation(f"{prefix}/predict", "post")["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert form["properties"]["file"]["maxItems"] == MAX_FILES
    tensor = SCHEMAS["InferenceRequest"]["properties"]["inputs"]["items"]["properties"]
    assert tensor["name"] == {"const": INPUT}
    assert tensor["shape"]["description"].endswith(f"N from 1 to {MAX_IMAGES}")
    output = SCHEMAS["InferenceRequest"]["properties"]["outputs"]["items"]["properties"]
    assert output["name"]["enum"] == list(OUTPUTS)
    (header,) = operation("/v2/models/{model}/infer", "post")["parameters"]
    assert header["name"] == HEADER_LENGTH
    assert SCHEMAS["Model"]["properties"]["precision"]["enum"] == list(get_args(Precision))


def test_the_greatest_top_k_is_that_of_the_code(client: httpx.Client):
    (top_k, *_) = operation("/v1/models/{model}/predict", "post")["parameters"]
    most = top_k["schema"]["maximum"]
    assert (
        operation(CLASSIFY, "post")["requestBody"]["content"]["application/json"]["schema"]["properties"]["top_k"][
            "maximum"
        ]
        == most
    )
    statuses = [
        client.post("/v1/models/digits_cnn/predict", params={"top_k": k}, headers={"Content-Type": "image/png"})
        for k in (most, most + 1)
    ]
    assert [response.json()["code"] for response in statuses] == ["undecodable_image", "top_k"]


def test_every_post_can_answer_413_and_415():
    """Every POST refuses a body that is too large or compressed."""
    for path, operations in DESCRIPTION["paths"].items():
        if "post" in operations:
            assert {"413", "415"} <= operations["post"]["responses"].keys(), path


def test_the_schema_of_a_model_has_its_fields(client: httpx.Client):
    listed = client.get("/models").json()["models"][0]
    assert SCHEMAS["Model"]["properties"].keys() == listed.keys()
    rest = SCHEMAS["ModelCard"]["allOf"][1]["properties"]
    assert rest.keys() == client.get("/models/digits_cnn").json().keys() - listed.keys()
    assert rest.keys() == CARD_ONLY | {"class_accuracies", "worst_confusions"}
    deprecated = {name for name, schema in SCHEMAS["Model"]["properties"].items() if schema.get("deprecated")}
    assert deprecated == RENAMED.keys()


def test_every_field_of_a_card_is_in_the_answer(client: httpx.Client):
    names = {field.name for field in fields(ModelCard)}
    assert names >= CARD_ONLY
    card = client.get("/models/digits_cnn").json()
    assert card.keys() >= names - {"input_shape", "prepare"}
    assert {"shape", "prepare"} <= card["input"].keys()


def test_the_file_is_part_of_the_package():
    root = Path(__file__).parents[2]
    assert '"*.yaml"' in (root / "pyproject.toml").read_text().partition('"cnnzoo.serve" = [')[2].partition("]")[0]
    assert '"cnnzoo/serve/openapi.yaml"' in (root / "bentofile.yaml").read_text()


def test_the_docs_page_and_its_assets_are_served_from_here(served: httpx.Client):
    page = served.get("/docs").text
    for path in ("/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js", "/page/docs.js"):
        assert path in page
        assert served.get(path).status_code == 200
    assert "http" not in page
    assert served.get("/static_content/index.css").status_code == 404


schema = schemathesis.openapi.from_dict(DESCRIPTION)
checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@schema.parametrize()
def test_the_service_keeps_to_it(case: schemathesis.Case, served: httpx.Client):
    """Send thousands of valid and invalid requests, generated from the description."""
    if "model" in (case.path_parameters or {}) and case.meta and case.meta.generation.mode.is_positive:
        case.path_parameters["model"] = "digits_cnn"
    case.call_and_validate(base_url=str(served.base_url), checks=checks)


@pytest.mark.slow
def test_its_memory_is_flat_afterwards(served: httpx.Client):
    """Measure memory after 2,000 requests, and again after 4,000 more."""

    def after(count: int) -> float:
        raw = {"Inference-Header-Content-Length": "0"}
        for _ in range(count // 2):
            served.post("/v2/models/digits_cnn/infer", content=b"\0" * 64, headers=raw)
            served.get("/nothing")
        return sum(p.memory_info().rss for p in server_processes(served)) / 2**20

    before = after(2000)
    assert after(4000) - before < 8, "MiB more"
