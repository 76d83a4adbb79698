"""Test the datasets' values, splits and caches, and the errors of missing data."""

import functools
import gzip
import hashlib
import pickle
import shutil
import struct
import tarfile
import time
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import quiet, web_server
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from cnnzoo.contract.card import PREPARATIONS
from cnnzoo.contract.images import read_image
from cnnzoo.datamodules import DATASETS, CIFAR10DataModule, DigitsDataModule, ImageFolderDataModule, MNISTDataModule
from cnnzoo.datamodules.cifar10 import CLASSES, encoding
from cnnzoo.datamodules.files import class_names
from cnnzoo.datamodules.strangers import strangers


def write_mnist(folder: Path, train: int, test: int) -> None:
    """Write small files in MNIST's IDX format, in torchvision's layout."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for prefix, n in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + pixels.tobytes())
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())


def write_class_folders(folder: Path, classes: tuple[str, ...], per_class: int, suffix: str = ".png", **save) -> None:
    """Write a folder per class, of images whose colour tells the class."""
    rng = np.random.default_rng(len(folder.name))
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for n in range(per_class):
            pixels = rng.integers(0, 80, (32, 32, 3), dtype=np.uint8)
            pixels[..., label % 3] += 40 + 10 * (label // 3) * 4
            Image.fromarray(pixels).save(folder / name / f"{n:04d}{suffix}", **save)


def test_digits_lose_nothing():
    data = DigitsDataModule()
    images = torch.cat([data.load(True)[0], data.load(False)[0]])
    assert images.dtype == torch.uint8
    values = images.unique()
    assert len(values) == 17
    back = np.sort(np.rint(images.numpy() * (16 / 255)).reshape(len(images), -1), axis=0)
    np.testing.assert_array_equal(back, np.sort(load_digits().images.reshape(len(images), -1), axis=0))


def test_digits_split_is_stratified_disjoint_and_a_function_of_the_seed():
    def parts(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        data = DigitsDataModule(seed=seed)
        return data.load(True)[0].flatten(1), data.load(False)[0].flatten(1)

    train, test = parts(0)
    assert (len(train), len(test)) == (1437, 360)
    counts = DigitsDataModule().load(False)[1].bincount()
    assert counts.min() >= 34
    assert counts.max() <= 37
    distinct = {tuple(row) for row in train.tolist()} & {tuple(row) for row in test.tolist()}
    assert not distinct  # no image stands in both
    assert not torch.equal(parts(1)[1], test)


def test_validation_is_a_stratified_part_of_the_training_images():
    data = DigitsDataModule(val_fraction=0.2)
    data.setup("fit")
    train, val = data.splits["train"], data.splits["val"]
    together = torch.cat([train.indices, val.indices])
    assert sorted(together.tolist()) == list(range(1437))
    assert len(val) == 288
    assert val.labels[val.indices].bincount().min() >= 27


def test_without_a_validation_part_everything_is_trained_on():
    data = DigitsDataModule(val_fraction=0)
    data.setup("fit")
    assert len(data.splits["train"]) == 1437
    assert data.val_dataloader() == []


def test_the_test_set_is_not_read_for_training(monkeypatch):
    data = DigitsDataModule()
    read = []
    monkeypatch.setattr(data, "load", lambda train, load=data.load: (read.append(train), load(train))[1])
    data.setup("fit")
    data.setup("validate")
    assert read == [True]


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_is_uint8_images_with_a_label_each(name: str, tmp_path: Path):
    """With small files in each dataset's format. A new dataset adds its own here."""
    write_mnist(tmp_path, 20, 10)
    for split in ("train", "test"):
        write_class_folders(tmp_path / "cifar10" / split, CLASSES, 1)
        write_class_folders(tmp_path / split, ("down", "across"), 1)
    data = DATASETS[name](data_dir=tmp_path)
    data.prepare_data()
    for train in (True, False):
        images, labels = data.load(train)
        assert (images.dtype, images.shape) == (torch.uint8, (len(labels), *data.image_shape))
        assert labels.unique().tolist() == list(range(len(data.classes)))
    assert data.describe()["name"]
    assert data.prepare_image in PREPARATIONS


def test_batches_are_uint8_and_whole():
    data = DigitsDataModule(batch_size=100)
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (100, 1, 8, 8))
    assert (labels.dtype, tuple(labels.shape)) == (torch.int64, (100,))
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 144


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"val_fraction": 1.0}, {"val_fraction": -0.1}, {"seed": -1}])
def test_senseless_arguments_are_errors(arguments: dict):
    with pytest.raises(ValueError, match=f"data.{next(iter(arguments))}"):
        DigitsDataModule(**arguments)


def test_a_batch_that_does_not_divide_by_the_devices_is_an_error():
    data = DigitsDataModule(batch_size=99)
    data.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match=r"data\.batch_size 99 is over all devices and does not divide evenly by 2"):
        data.setup("fit")


def test_mnist_reads_the_official_file_format(tmp_path: Path):
    write_mnist(tmp_path, 300, 50)
    data = MNISTDataModule(tmp_path)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert len(data.splits["train"]) + len(data.splits["val"]) == 300
    images, labels = data.load(train=False)
    assert tuple(images.shape) == (50, 1, 28, 28)
    raw = (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").read_bytes()[16:]
    assert images.numpy().tobytes() == raw
    assert labels.tolist() == [n % 10 for n in range(50)]


def test_a_file_of_mnist_that_is_cut_short_is_named(tmp_path: Path):
    write_mnist(tmp_path, 300, 50)
    images = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    data = MNISTDataModule(tmp_path)
    data.prepare_data()
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is not a whole idx file"):
        data.setup("fit")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_mnist_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From a mirror of its own, with small files."""
    write_mnist(tmp_path, 30, 20)
    raw = tmp_path / "MNIST/raw"
    packed = []
    for file in sorted(raw.iterdir()):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        packed.append((f"{file.name}.gz", md5(tmp_path / f"{file.name}.gz")))
    monkeypatch.setattr(MNIST, "resources", packed)
    data = MNISTDataModule(tmp_path / "data")
    with web_server(functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as url:
        monkeypatch.setattr(MNIST, "mirrors", [f"{url}/"])
        data.prepare_data()
    data.prepare_data()  # asks nobody
    images, labels = data.load(train=False)
    assert images.numpy().tobytes() == (raw / "t10k-images-idx3-ubyte").read_bytes()[16:]
    assert labels.tolist() == [n % 10 for n in range(20)]


def test_cifar10_is_downloaded_and_the_official_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From a mirror of its own, with four images a file. A row is the red, the green and the blue plane of an image."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = {}
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        rows[name] = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": rows[name], "labels": rng.integers(0, 10, 4).tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    sums = [[name, md5(folder / name)] for name in rows]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    data = CIFAR10DataModule(tmp_path / "data")
    with web_server(functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as url:
        monkeypatch.setattr(CIFAR10, "url", f"{url}/{archive.name}")
        data.prepare_data()
    data.prepare_data()  # asks nobody
    images, labels = data.load(train=True)
    assert (images.dtype, tuple(images.shape), len(labels)) == (torch.uint8, (20, 3, 32, 32), 20)
    assert (images.flatten(1).numpy() == np.concatenate([rows[f"data_batch_{n}"] for n in range(1, 6)])).all()
    assert (data.load(train=False)[0].flatten(1).numpy() == rows["test_batch"]).all()
    assert (data.describe()["variant"], data.prepare_image) == ("official files", "photo")


@pytest.mark.parametrize(
    ("data_module", "expected"),
    [(MNISTDataModule, "MNIST/raw/ with the four files"), (CIFAR10DataModule, "cifar10/{train,test}/<class>/")],
)
def test_no_data_and_no_internet_is_a_clear_error_within_seconds(tmp_path, monkeypatch, data_module, expected):
    def no_internet(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", no_internet)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        data_module(tmp_path / "nothing").prepare_data()
    assert time.monotonic() - start < 30
    message = str(error.value)
    assert str(tmp_path / "nothing") in message
    assert expected in message
    assert "CNNZOO_DATA" in message


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for part, per_class in (("train", 6), ("test", 2)):
        write_class_folders(folder / "cifar10" / part, CLASSES, per_class, ".jpg", quality=75)
    return folder


def test_cifar10_reads_class_folders_and_names_the_variant(cifar10: Path):
    data = CIFAR10DataModule(cifar10)
    data.prepare_data()
    images, labels = data.load(train=True)
    assert tuple(images.shape) == (60, 3, 32, 32)
    assert labels.bincount().tolist() == [6] * 10
    with Image.open(cifar10 / "cifar10/train/ship/0003.jpg") as image:
        np.testing.assert_array_equal(images[8 * 6 + 3].permute(1, 2, 0).numpy(), np.asarray(image))
    assert data.describe()["variant"] == "JPEG q75"
    copy = cifar10 / "with hidden files"
    shutil.copytree(cifar10 / "cifar10", copy / "cifar10")
    (copy / "cifar10/test/airplane/._0000.jpg").write_bytes(b"x")  # as macOS leaves them
    assert CIFAR10DataModule(copy).describe()["variant"] == "JPEG q75"
    assert data.prepare_image == "photo_jpeg75"


def test_cifar10_without_losses_is_prepared_as_photos_are(tmp_path: Path):
    write_class_folders(tmp_path / "cifar10/train", CLASSES, 1)
    assert CIFAR10DataModule(tmp_path).prepare_image == "photo"
    assert CIFAR10DataModule(tmp_path / "official").prepare_image == "photo"


@pytest.mark.parametrize("quality", [20, 75, 90])
def test_the_quality_of_a_jpeg_is_read_off_its_tables(tmp_path, quality: int):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (32, 32)).save(path, quality=quality)
    assert encoding(path) == f"JPEG q{quality}"


def test_decoded_images_are_cached_until_a_file_changes(cifar10: Path, monkeypatch, tmp_path):
    monkeypatch.setenv("CNNZOO_CACHE", str(tmp_path))
    folder = tmp_path / "copy"
    shutil.copytree(cifar10, folder)
    first, _ = CIFAR10DataModule(folder).load(train=False)
    decoded = []

    def counted(file: Path) -> Image.Image:
        decoded.append(1)
        return read_image(file)

    monkeypatch.setattr("cnnzoo.datamodules.decoded.read_image", counted)
    second, _ = CIFAR10DataModule(folder).load(train=False)
    assert torch.equal(first, second)
    assert not decoded

    Image.new("RGB", (32, 32), "red").save(folder / "cifar10/test/airplane/0000.jpg")
    third, _ = CIFAR10DataModule(folder).load(train=False)
    assert len(decoded) == 1  # the changed one
    assert not torch.equal(third[0], first[0])
    assert torch.equal(third[1:], first[1:])
    assert len(list(tmp_path.glob("*/*.pixels"))) == 1  # the older one is gone


def test_an_empty_cifar10_folder_is_as_good_as_none(tmp_path: Path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(FileNotFoundError, match="no PNG or JPEG images in"):
        CIFAR10DataModule(tmp_path).describe()
    data = DigitsDataModule(data_dir=tmp_path)
    assert "CIFAR-10" not in strangers(data, data.load(train=False)[0][:10])


def test_cifar10_folders_with_other_classes_are_refused(tmp_path: Path):
    write_class_folders(tmp_path / "cifar10" / "train", ("cats", "dogs"), 2)
    with pytest.raises(ValueError, match="holds the classes cats, dogs: expected airplane"):
        CIFAR10DataModule(tmp_path).load(train=True)


def test_image_folder_brings_any_picture_to_size(tmp_path: Path):
    for part in ("train", "test"):
        write_class_folders(tmp_path / part, ("a", "b"), 4)
    Image.new("L", (90, 41), 200).save(tmp_path / "train/a/wide.PNG")
    transparent = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    transparent.save(tmp_path / "train/b/transparent.png")
    data = ImageFolderDataModule(tmp_path, size=(24, 20))
    images, _ = data.load(train=True)
    assert tuple(images.shape) == (10, 3, 24, 20)
    assert data.classes == ("a", "b")
    assert (images[4] == 200).all()  # sorted by name: after 0000-0003
    assert (images[9] == 255).all()  # transparent lies on white
    assert ImageFolderDataModule(tmp_path, size=(8, 8), mode="L").load(train=False)[0].shape == (8, 1, 8, 8)


def test_a_broken_picture_is_named(tmp_path: Path):
    write_class_folders(tmp_path / "train", ("a", "b"), 2)
    broken = tmp_path / "train/b/broken.png"
    broken.write_bytes(gzip.compress(b"not a picture"))
    with pytest.raises(ValueError, match=r"1 of 5 files in .* cannot be decoded; remove .*\n.*broken\.png: not a PNG"):
        ImageFolderDataModule(tmp_path).load(train=True)


def test_empty_folders_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"no class folders in {tmp_path}"):
        ImageFolderDataModule(tmp_path).load(train=True)
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no PNG or JPEG images in .*: add some, or remove this class"):
        ImageFolderDataModule(tmp_path).load(train=True)


def test_one_class_is_named(tmp_path: Path):
    """As of an archive whose folder was given in place of the folder in it."""
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="has one class folder, 'photos': give the folder that holds one for each"):
        ImageFolderDataModule(tmp_path).load(train=True)


@pytest.mark.parametrize("name", ["گربه\u200cها", "猫\u3000犬"])
def test_names_of_every_language_name_a_class(tmp_path: Path, name: str):
    for folder in (name, "other"):
        (tmp_path / folder).mkdir()
    assert class_names(tmp_path) == tuple(sorted((name, "other")))


def test_only_training_divides_batches_over_devices():
    data = DigitsDataModule(batch_size=100)
    data.trainer = SimpleNamespace(world_size=8, global_rank=0)
    data.setup("test")
    with pytest.raises(ValueError, match="does not divide evenly by 8"):
        data.setup("fit")


def test_on_the_cpu_no_memory_is_pinned(monkeypatch: pytest.MonkeyPatch):
    """It would open a context on the GPU."""
    data = DigitsDataModule()
    data.trainer = quiet()
    data.setup("fit")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not data.train_dataloader().pin_memory


@pytest.mark.data
@pytest.mark.slow
def test_the_real_files(data_dir: Path):
    for data, shape in (
        (MNISTDataModule(data_dir), (60_000, 1, 28, 28)),
        (CIFAR10DataModule(data_dir), (50_000, 3, 32, 32)),
    ):
        data.prepare_data()
        images, labels = data.load(train=True)
        assert tuple(images.shape) == shape
        assert len(labels.bincount()) == 10
        assert len(data.load(train=False)[1]) == 10_000
    mean = MNISTDataModule(data_dir).load(train=True)[0].float().mean() / 255
    assert mean == pytest.approx(0.1307, abs=5e-5)  # the constant in the network's defaults
