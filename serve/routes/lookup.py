"""Find the model that a request names, and write the routes that name one."""

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import Scope

from ...contract.names import did_you_mean
from ..errors import ApiError
from ..model import Model
from ..observe import MODEL
from ..zoo import Zoo


def model_of(scope: Scope) -> Model:
    """Return the model in a request's path, in its newest version unless it names one. Raises ApiError 404."""
    named = scope["path_params"]
    model = find(scope["app"].state.zoo, named["model"], named.get("version"))
    scope[MODEL] = model.card.name
    return model


def find(zoo: Zoo, name: str, version: str | None = None) -> Model:
    """Return the model of that name and version. Raises ApiError 404 with the names that exist."""
    if version is None and (newest := zoo.get(name)):
        return newest
    versions = zoo.versions(name)
    if not versions:
        names = sorted({model.card.name for model in zoo.models})
        hint = did_you_mean(name, names)
        there = ", ".join(names) or "none: the zoo is empty"
        raise ApiError(404, "unknown_model", f"no model is called {name[:64]!r}{hint} (there are {there})")
    model = next((zoo.get(name, v) for v in versions if str(v) == version), None)
    if model is None:
        there = ", ".join(map(str, versions))
        raise ApiError(404, "unknown_version", f"{name} has no version {(version or '')[:16]!r} (there are {there})")
    return model


def versioned(before: str, after: str, endpoint: Any, methods: Sequence[str] = ("GET",)) -> list[Route]:
    """Return the routes of a model's newest version and of a named one."""
    middles = ("/{model}", "/{model}/versions/{version}")
    return [Route(before + middle + after, endpoint, methods=methods) for middle in middles]
