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

from cnnzoo.serve.bento_routes import CLASSIFY
from cnnzoo.serve.openapi import load_openapi
from cnnzoo.serve.routes import create_routes
from cnnzoo.serve.settings import read_settings


def test_it_is_valid_and_served(client: httpx.Client):
    served = client.get("/openapi.json").json()
    assert served["openapi"].startswith("3.1")
    openapi_spec_validator.validate(served)


def test_every_route_is_described_and_every_description_is_of_a_route():
    described = {
        (path, method.upper())
        for path, operations in load_openapi(read_settings())["paths"].items()
        for method in operations
        if method != "parameters"
    }
    routed = {
        (route.path.replace(":path", ""), method)
        for route in create_routes()
        if isinstance(route, Route) and route.include_in_schema
        for method in route.methods or ()
    }
    routed.add((CLASSIFY, "POST"))
    assert {method for _, method in routed - described} <= {"HEAD"}
    assert described - routed == set()


def test_the_docs_page_and_its_assets_are_served_from_here(served: httpx.Client):
    page = served.get("/docs").text
    for address in ("/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js", "/docs.js"):
        assert address in page
        assert served.get(address).status_code == 200
    assert "http" not in page
    assert served.get("/static_content/index.css").status_code == 404


schema = schemathesis.openapi.from_dict(load_openapi(read_settings()))
checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@schema.parametrize()
def test_the_service_keeps_to_it(case: schemathesis.Case, served: httpx.Client):
    """Thousands of requests made from the description, right and wrong."""
    if "model" in (case.path_parameters or {}) and case.meta and case.meta.generation.mode.is_positive:
        case.path_parameters["model"] = "digits_cnn"
    case.call_and_validate(base_url=str(served.base_url), checks=checks)


@pytest.mark.slow
def test_its_memory_is_flat_afterwards(served: httpx.Client):
    """Runs after the requests above, and sends as many once more."""
    before = sum(p.memory_info().rss for p in server_processes(served))
    for _ in range(2000):
        served.post("/v2/models/digits_cnn/infer", content=b"\0" * 64, headers={"Inference-Header-Content-Length": "0"})
        served.get("/nothing")
    after = sum(p.memory_info().rss for p in server_processes(served))
    assert after < 1.15 * before, f"{before / 2**20:.0f} MiB, then {after / 2**20:.0f} MiB"
