"""Test the way from a folder of photos to a service, at photo size: `cnnzoo fit --config photos`."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn
import torch
import torchvision
from helpers import Here, in_process
from PIL import Image

PICTURES = {
    "cat": Path(skimage.__file__).parent / "data/chelsea.png",
    "coffee": Path(skimage.__file__).parent / "data/coffee.png",
    "flower": Path(sklearn.__file__).parent / "datasets/images/flower.jpg",
}
WEIGHTS = "resnet18-f37072fd.pth"  # the name of torchvision's file


def write_crops(folder: Path, n: int, seed: int) -> Path:
    """Write random crops of three pictures as JPEG files, in a folder for each."""
    rng = np.random.default_rng(seed)
    for name, path in PICTURES.items():
        picture = Image.open(path).convert("RGB")
        (folder / name).mkdir(parents=True)
        for number in range(n):
            side = int(rng.integers(220, min(picture.size)))
            left, top = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
            picture.crop((left, top, left + side, top + side)).save(folder / name / f"{number:03}.jpg", quality=90)
    return folder


def served_correctly(zoo: Path, photos: Path) -> float:
    """Return the share of photos that the service calls by the name of their folder."""
    correct = []
    with in_process(zoo) as client:
        assert client.get("/models").json()["models"][0]["classes"] == list(PICTURES)
        for path in sorted(photos.glob("*/*.jpg")):
            headers = {"Content-Type": "image/jpeg"}
            answer = client.post("/v1/models/photos/predict?top_k=1", content=path.read_bytes(), headers=headers)
            correct.append(answer.json()["predictions"][0]["classes"][0]["label"] == path.parent.name)
    return float(np.mean(correct))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_photos_become_a_service(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("CNNZOO_CACHE", str(tmp_path / "cache"))
    write_crops(tmp_path / "my_photos", 120, seed=0)
    others = write_crops(tmp_path / "others", 10, seed=1)
    fit = (
        "fit",
        "--config",
        "photos",
        "--data.data_dir",
        "my_photos",
        "--trainer.max_epochs",
        "1",
        "--data.batch_size",
        "4",
    )
    scratch = ("--model.weights", "null", "--model.freeze", "0", "--model.backbone_rate", "1", "--runs", "scratch")
    done = here(*fit, *scratch, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = here(
        "export", "--config", "scratch/photos/version_0", "--corruption_images", "0", "--zoo", "zoo", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert served_correctly(tmp_path / "zoo", others) > 0.8

    # The same from weights in torchvision's cache: those of the network that was just trained.
    state = torch.load(tmp_path / "scratch/photos/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    own = {key.removeprefix("network.0."): value for key, value in state.items()}
    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    head = {key: value for key, value in torchvision.models.resnet18().state_dict().items() if key.startswith("fc.")}
    torch.save(own | head, cache / WEIGHTS)
    done = here(*fit, "--runs", "tuned", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    begun = torch.load(tmp_path / "tuned/photos/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(begun["network.0.layer4.1.conv2.weight"], own["layer4.1.conv2.weight"])  # frozen
    done = here(
        "export", "--config", "tuned/photos/version_0", "--corruption_images", "0", "--zoo", "tuned_zoo", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert served_correctly(tmp_path / "tuned_zoo", others) > 0.8


def test_without_a_folder_the_recipe_says_what_to_give(here: Here, tmp_path: Path):
    done = here("fit", "--config", "photos", cwd=tmp_path)
    assert done.returncode
    assert "data.data_dir is not set: give your folder of images" in done.stderr
