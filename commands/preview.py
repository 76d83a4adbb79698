"""A first look at the data: a sheet of labelled images."""

from pathlib import Path

import numpy as np
import torch

from ..datamodules import ImageDataModule
from .plots import sheet


def preview(data: ImageDataModule, count: int, path: Path) -> None:
    """Writes `count` random training images with their classes' names to the PNG `path`."""
    if count < 1:
        raise ValueError(f"--count is {count}: give at least 1")
    data.prepare_data()
    data.setup("fit")
    part = data.splits["train"]
    rng = np.random.default_rng(data.seed)
    chosen = rng.choice(len(part), size=min(count, len(part)), replace=False)
    images, labels = part[torch.from_numpy(chosen)]
    title = f"{data.describe()['name']}: {len(chosen)} of {len(part):,} training images"
    sheet(images.numpy(), [data.classes[label] for label in labels], path, title)
