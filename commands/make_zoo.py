"""Every model that cnnzoo ships, from data to card: `make zoo`.

Long. What is up to date is left alone: a model whose newest card holds the recipe as it is now. What was stopped goes
on from its last checkpoint, since each recipe's text has a run folder of its own. What a changed recipe makes is the
next version: take the older one, and its line in SHA256SUMS, out of git.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from ..contract.model_file import read_card
from ..contract.names import ContractError
from ..contract.zoo_folder import ZooFolder
from .config import SHIPPED as CONFIGS
from .trainer import say

RECIPES = ("digits", "mnist", "mnist_speednet", "cifar10", "cifar10_speednet_long")
SMALLER = ("mnist_cnn", "cifar10_speednet")  # also as int8
RUNS = Path("runs/zoo")


def main() -> None:
    zoo = Path("zoo")
    for recipe in RECIPES:
        text = (CONFIGS / f"{recipe}.yaml").read_text()
        wanted = yaml.safe_load(text)
        name = wanted["name"]
        runs = RUNS / f"{recipe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        variants: dict[str, list[str]] = {name: []}
        if name in SMALLER:
            variants[f"{name}_int8"] = ["--quantize", "int8"]
        missing = {model: flags for model, flags in variants.items() if not is_made(zoo, model, wanted)}
        if not missing:
            say(f"{name} is up to date")
            continue
        _run("fit", "--config", recipe, "--runs", str(runs), "--ckpt_path", "last")
        run = str(max((runs / name).glob("version_*"), key=lambda folder: int(folder.name.removeprefix("version_"))))
        _run("test", "--config", run, "--ckpt_path", "last")
        for flags in missing.values():
            _run("export", "--config", run, "--ckpt_path", "last", "--zoo", str(zoo), *flags)


def is_made(zoo: Path, name: str, recipe: dict[str, Any]) -> bool:
    """Whether the newest version under a name was made by this recipe."""
    newest = ZooFolder(zoo).newest(name)
    try:
        return newest is not None and _holds(read_card(ZooFolder(zoo).file(newest)).config, recipe)
    except ContractError:
        return False


def _holds(config: Any, recipe: Any) -> bool:
    """Whether everything in a recipe is so in a resolved configuration."""
    if isinstance(recipe, dict):
        return isinstance(config, dict) and all(_holds(config.get(key), value) for key, value in recipe.items())
    if isinstance(recipe, str) and isinstance(config, str):
        return config == recipe or config.endswith(f".{recipe}")  # of a class the resolved one is the full path
    return bool(config == recipe)


def _run(*words: str) -> None:
    say(f"cnnzoo {' '.join(words)}")
    subprocess.run([sys.executable, "-m", "cnnzoo.train", *words], check=True)


if __name__ == "__main__":
    main()
