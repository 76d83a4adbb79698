"""Test hubconf.py: torch.hub loads the networks from a clone, in which cnnzoo is not installed."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnzoo.models import list_models

ROOT = Path(__file__).parents[1]
# What an editable installation adds to the import system.
UNINSTALLED = """
import sys
for places in (sys.meta_path, sys.path_hooks, sys.path):
    places[:] = [place for place in places if "editable" not in str(place).lower()]
sys.path_importer_cache.clear()
"""


def run(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", UNINSTALLED + code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_torch_hub_loads_a_network_with_its_weights(tmp_path: Path):
    output = run(
        f"""
import importlib.util, torch
assert importlib.util.find_spec("cnnzoo") is None
root = {str(ROOT)!r}
model = torch.hub.load(root, "mnist_cnn", source="local", pretrained=True)
fresh = torch.hub.load(root, "mnist_tiny", source="local", num_classes=3)
images = torch.zeros((2, 1, 28, 28), dtype=torch.uint8)
sys.path.insert(0, root)
import hubconf  # torch.hub.list and help are for GitHub alone
print([name for name, entry in vars(hubconf).items() if callable(entry) and not name.startswith("_")])
print(hubconf.mnist_cnn.__doc__)
print(tuple(model(images).shape), tuple(fresh.eval()(images).shape), model.temperature.item() != 1)
""",
        tmp_path,
    )
    lines = output.splitlines()
    assert set(list_models()) == set(eval(lines[0]))
    assert "Return mnist_cnn, a LightningModule" in output
    assert lines[-1] == "(2, 10) (2, 3) True"


@pytest.mark.slow
def test_the_weights_are_those_of_the_clone(tmp_path: Path, copied: Path):
    """CNNZOO_ZOO and zoo/ of the working folder are for the user's own models."""
    code = f"""
import os, torch
os.environ["CNNZOO_ZOO"] = {str(copied / "zoo")!r}
model = torch.hub.load({str(ROOT)!r}, "mnist_tiny", source="local", pretrained=True)
print(model.temperature.item() != 1)
"""
    assert run(code, copied).splitlines()[-1] == "True"


@pytest.mark.slow
def test_another_clone_is_not_used_in_its_place(tmp_path: Path):
    for room in ("models", "contract"):
        shutil.copytree(ROOT / room, tmp_path / room)
    shutil.copy(ROOT / "hubconf.py", tmp_path)
    code = f"""
import torch
torch.hub.load({str(ROOT)!r}, "mnist_tiny", source="local")
torch.hub.load({str(tmp_path)!r}, "mnist_tiny", source="local")
"""
    with pytest.raises(AssertionError, match="cnnzoo of another folder is in use"):
        run(code, tmp_path)


@pytest.mark.slow
def test_dependencies_are_all_that_is_imported(tmp_path: Path):
    code = f"""
import builtins, torch
found, real = set(), builtins.__import__

def watch(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {{}}).get("__name__")).startswith("cnnzoo."):
        found.add(name.partition(".")[0])
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = watch
torch.hub.load({str(ROOT)!r}, "mnist_tiny", source="local", pretrained=True)
print(found - sys.stdlib_module_names - {{"cnnzoo"}})
"""
    (line,) = re.findall("^dependencies = (.*)", (ROOT / "hubconf.py").read_text(), re.MULTILINE)
    assert ast.literal_eval(run(code, tmp_path).splitlines()[-1]) == {*ast.literal_eval(line)}
