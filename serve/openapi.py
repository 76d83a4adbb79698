"""The description of the HTTP service: openapi.yaml with the version and the security scheme."""

from pathlib import Path
from typing import Any

import yaml

from ..contract import __version__
from .settings import ServeSettings


def load_openapi(settings: ServeSettings) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description. It has a security scheme if an API key is set."""
    document: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text(encoding="utf-8"))
    del document["x-shared"]
    document["info"]["version"] = __version__
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document
