"""Build every model that cnnzoo ships, from data to card: `make zoo`. Takes hours.

A model is up to date if its newest card holds the recipe as it is now, and is left alone. A stopped training resumes
from its last checkpoint, since each text of a recipe has a run folder of its own. A changed recipe makes the next
version: remove the older one and its line in SHA256SUMS from git. A setting that was removed from a recipe is not
noticed.
"""

import hashlib
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.names import ContractError
from cnnzoo.contract.zoo_folder import ZooFolder, find_file

CONFIGS = Path(__file__).parent.parent / "configs"
# In this order: mnist_tiny learns from mnist_speednet.
RECIPES = ("digits", "mnist", "mnist_speednet", "mnist_tiny", "cifar10", "cifar10_speednet_long", "cifar10_resnet20")
ALSO_INT8 = ("cifar10_speednet",)
RUNS = Path("runs/zoo")


def main() -> None:
    """Train, test and export what is not up to date."""
    zoo = ZooFolder(Path("zoo"))
    for recipe in RECIPES:
        text = (CONFIGS / f"{recipe}.yaml").read_text()
        wanted = yaml.safe_load(text)
        name = wanted["name"]
        variants: dict[str, list[str]] = {name: []}
        if name in ALSO_INT8:
            variants[f"{name}_int8"] = ["--quantize", "int8"]
        outdated = {model: flags for model, flags in variants.items() if not is_up_to_date(zoo, model, wanted)}
        if not outdated:
            print(f"{name} is up to date")
            continue
        runs = RUNS / f"{recipe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        _run("fit", "--config", recipe, "--runs", str(runs), "--ckpt_path", "last")
        run = str(max((runs / name).glob("version_*"), key=lambda folder: int(folder.name.removeprefix("version_"))))
        _run("test", "--config", run, "--ckpt_path", "last")
        for flags in outdated.values():
            _run("export", "--config", run, "--ckpt_path", "last", "--zoo", str(zoo.path), *flags)


def is_up_to_date(zoo: ZooFolder, name: str, recipe: dict[str, Any]) -> bool:
    """Return whether the newest version of a model was made by this recipe."""
    try:
        card = read_card(find_file(name, zoo.path))
    except (FileNotFoundError, ContractError):
        return False
    return _holds({**asdict(card), **card.config}, recipe)


def _holds(config: Any, recipe: Any) -> bool:
    """Return whether a resolved configuration has every value of a recipe."""
    if isinstance(recipe, dict):
        return isinstance(config, dict) and all(_holds(config.get(key), value) for key, value in recipe.items())
    if isinstance(recipe, str) and isinstance(config, str):
        return config == recipe or config.endswith(f".{recipe}")  # a resolved class has its full import path
    return bool(config == recipe)


def _run(*words: str) -> None:
    print(f"cnnzoo {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "cnnzoo", *words], check=True)


if __name__ == "__main__":
    main()
