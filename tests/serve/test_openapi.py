"""The description: valid, of every route, and kept by the service whatever schemathesis makes of it."""

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
from starlette.routing import Route

from cnnzoo.serve.front import BENTOML
from cnnzoo.serve.openapi import description
from cnnzoo.serve.routes import create_router


def test_it_is_valid_and_served(client: httpx.Client):
    served = client.get("/openapi.json").json()
    assert served["openapi"].startswith("3.1")
    openapi_spec_validator.validate(served)


def test_every_route_is_described_and_every_description_is_of_a_route():
    described = {
        (path, method.upper())
        for path, operations in description()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    routed = {
        (route.path.replace(":path", ""), method)
        for route in create_router().routes
        if isinstance(route, Route) and route.include_in_schema
        for method in route.methods or ()
    }
    behind = {(path, "POST" if path == "/classify" else "GET") for path in BENTOML} - {("/schema.json", "GET")}
    missing = (routed | behind) - described
    assert {method for _, method in missing} <= {"HEAD"} | {"GET"} and ("/healthz", "GET") in missing  # noqa: PT018
    assert {path for path, method in missing if method == "GET"} == {"/healthz"}
    assert described - routed - behind == set()


def test_the_docs_page_and_its_assets_are_served_from_here(client: httpx.Client):
    page = client.get("/docs").text
    for address in ("/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js", "/docs.js"):
        assert address in page
        assert client.get(address).status_code == 200
    assert "http" not in page
    assert client.get("/static_content/index.css").status_code == 404


schema = schemathesis.openapi.from_dict(description())
checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@schema.parametrize()
def test_the_service_keeps_to_it(case: schemathesis.Case, client: httpx.Client):
    """Thousands of requests made from the description, right and wrong."""
    if "model" in (case.path_parameters or {}) and case.meta and case.meta.generation.mode.is_positive:
        case.path_parameters["model"] = "digits_cnn"
    case.call_and_validate(base_url=str(client.base_url), checks=checks)


@pytest.mark.slow
def test_its_memory_is_flat_afterwards(client: httpx.Client):
    """Runs after the requests above, and sends as many once more."""
    before = sum(p.memory_info().rss for p in server_processes(client))
    for _ in range(2000):
        client.post("/v2/models/digits_cnn/infer", content=b"\0" * 64, headers={"Inference-Header-Content-Length": "0"})
        client.get("/nothing")
    after = sum(p.memory_info().rss for p in server_processes(client))
    assert after < 1.15 * before, f"{before / 2**20:.0f} MiB, then {after / 2**20:.0f} MiB"
