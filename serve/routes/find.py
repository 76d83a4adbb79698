"""The model that an address names."""

import difflib

from starlette.types import Scope

from ..errors import ApiError
from ..model import Model
from ..scope import MODEL, ZOO
from ..zoo import Zoo


def model_of(scope: Scope) -> Model:
    """The model and version in the path; the newest version where none is named. ApiError 404 otherwise."""
    named = scope["path_params"]
    model = find(scope[ZOO], named["model"], named.get("version"))
    scope[MODEL] = model.card.name
    return model


def find(zoo: Zoo, name: str, version: str | None = None) -> Model:
    """The model of that name and version; ApiError 404, with the names there are, otherwise."""
    if version is None and (newest := zoo.get(name)):
        return newest
    versions = zoo.versions(name)
    if not versions:
        names = sorted({model.card.name for model in zoo.models})
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        there = ", ".join(names) or "none: the zoo is empty"
        raise ApiError(404, "unknown_model", f"no model is called {name[:64]!r}{hint} (there are {there})")
    named = [v for v in versions if version in (None, str(v))]
    model = zoo.get(name, named[0]) if named else None
    if model is None:
        there = ", ".join(map(str, versions))
        raise ApiError(404, "unknown_version", f"{name} has no version {version!r} (there are {there})")
    return model
