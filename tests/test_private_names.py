"""The product uses no private name of a dependency: such names change without notice."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import cnnzoo.commands
import cnnzoo.contract
import cnnzoo.datamodules
import cnnzoo.models
import cnnzoo.serve

ROOT = Path(__file__).parent.parent
ROOMS = (cnnzoo.contract, cnnzoo.datamodules, cnnzoo.models, cnnzoo.serve, cnnzoo.commands)
FILES = [ROOT / "train.py", ROOT / "__main__.py", *(p for room in ROOMS for p in Path(room.__path__[0]).rglob("*.py"))]
# os documents _exit, torch documents _check for torch.export, and Python sets _abc_impl.
PUBLIC = {"_exit", "_check", "_abc_impl"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_private_name_is_read(path: Path):
    """A name with a leading underscore belongs to `self`, `cls`, or this file."""
    tree = ast.parse(path.read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not any(is_private(alias.name) for alias in node.names), ast.unparse(node)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            local = isinstance(node.value, ast.Name) and node.attr in defined
            assert local or ast.unparse(node.value) in ("self", "cls"), f"line {node.lineno}: {ast.unparse(node)}"


def test_no_private_method_is_overridden():
    modules = [
        importlib.import_module(f"{room.__name__}.{found.name}")
        for room in ROOMS
        for found in pkgutil.iter_modules(room.__path__)
    ]
    classes = {one for module in modules for one in vars(module).values() if inspect.isclass(one)}
    own = [one for one in classes if one.__module__.startswith("cnnzoo")]
    assert len(own) > 50
    for one in own:
        theirs = {name for base in one.__mro__ if not base.__module__.startswith("cnnzoo") for name in vars(base)}
        ours = {name for base in one.__mro__ if base.__module__.startswith("cnnzoo") for name in vars(base)}
        shared = {name for name in theirs & ours if is_private(name)}
        assert not shared, f"{one.__module__}.{one.__name__} overrides {shared}"
