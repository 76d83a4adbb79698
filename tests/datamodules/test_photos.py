"""Test the cache of decoded photos, and how folders of photos are split."""

import itertools
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import running
from PIL import Image

from cnnzoo.commands.grid import check_grid
from cnnzoo.commands.repeated import seed_axis
from cnnzoo.contract.images import decode, fit, read_image
from cnnzoo.datamodules import ImageFolderDataModule, decoded
from cnnzoo.datamodules.files import load_folder

CLASSES = ("cat", "dog")
SHAPE = (3, 16, 20)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CNNZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path, n: int = 12, classes: tuple[str, ...] = CLASSES) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (30, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write(tmp_path / "photos")


def expected(photos: Path) -> np.ndarray:
    return np.stack([fit(decode(path.read_bytes()), SHAPE) for path in sorted(photos.glob("*/*.png"))])


def count_decodings(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[int]:
    """Count what is decoded, and stop the process' decoding at one."""
    seen: list[int] = []

    def counted(file: Path) -> Image.Image:
        seen.append(1)
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        return read_image(file)

    monkeypatch.setattr(decoded, "read_image", counted)
    return seen


def test_only_what_is_new_or_changed_is_decoded_again(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    seen = count_decodings(monkeypatch)
    images, labels, _ = load_folder(photos, CLASSES, SHAPE)
    assert (images.numpy() == expected(photos)).all()
    assert labels.tolist() == [0] * 12 + [1] * 12
    assert len(seen) == 24
    load_folder(photos, CLASSES, SHAPE)
    assert len(seen) == 24

    Image.new("RGB", (30, 30), "red").save(photos / "cat/03.png")
    Image.new("RGB", (30, 30), "blue").save(photos / "dog/00a.png")
    (photos / "cat/00.png").unlink()
    images, labels, _ = load_folder(photos, CLASSES, SHAPE)
    assert (images.numpy() == expected(photos)).all()
    assert labels.tolist() == [0] * 11 + [1] * 13
    assert len(seen) == 26
    assert [path.suffix for path in cache.glob("*/*.pixels")] == [".pixels"]
    load_folder(photos, CLASSES, (3, 8, 8))  # another size has its own pixels
    assert len(list(cache.glob("*/*.pixels"))) == 2


def test_a_stopped_decoding_goes_on(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoded, "CHUNK", 4)
    count_decodings(monkeypatch, stop_at=17)
    with pytest.raises(KeyboardInterrupt):
        load_folder(photos, CLASSES, SHAPE)
    seen = count_decodings(monkeypatch)
    images, *_ = load_folder(photos, CLASSES, SHAPE)
    assert 24 - 16 <= len(seen) <= 24 - 8  # whole chunks of four are kept
    assert (images.numpy() == expected(photos)).all()
    assert not list(cache.glob("*/*.done"))


@pytest.mark.slow
def test_a_killed_decoding_goes_on_in_another_process(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    photos = write(tmp_path / "many", 40)
    script = (
        "import sys, time; from pathlib import Path; from cnnzoo.datamodules import decoded, files\n"
        "decoded.CHUNK = 8; real = decoded.fit\n"
        "decoded.fit = lambda *a: (time.sleep(0.05), real(*a))[1]\n"
        f"files.load_folder(Path({str(photos)!r}), {CLASSES!r}, {SHAPE!r})"
    )
    with running(sys.executable, "-c", script) as process:
        while not any(np.fromfile(path, np.uint8).any() for path in cache.glob("*/*.done")):
            assert process.poll() is None
            time.sleep(0.02)
    seen = count_decodings(monkeypatch)
    images, *_ = load_folder(photos, CLASSES, SHAPE)
    assert 0 < len(seen) <= 72
    assert (images.numpy() == expected(photos)).all()


def test_unreadable_files_are_listed_or_left_out(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    whole = expected(photos)
    (photos / "cat/05.png").write_bytes(b"no picture")
    data = (photos / "dog/07.png").read_bytes()
    (photos / "dog/07.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="2 of 24 files in") as raised:
        load_folder(photos, CLASSES, SHAPE)
    assert "cat/05.png: not a PNG or JPEG image" in str(raised.value)
    assert "dog/07.png: the image is damaged" in str(raised.value)
    assert "data.on_error: skip" in str(raised.value)
    for _ in range(2):  # from the files, and from the cache
        images, labels, _ = load_folder(photos, CLASSES, SHAPE, "skip")
        assert (images.numpy() == np.delete(whole, [5, 19], axis=0)).all()
        assert labels.tolist() == [0] * 11 + [1] * 11
    assert "2 of 24 files" in caplog.text
    (photos / "dog/07.png").write_bytes(data)
    seen = count_decodings(monkeypatch)
    images, *_ = load_folder(photos, CLASSES, SHAPE, "skip")
    assert (images.numpy() == np.delete(whole, 5, axis=0)).all()
    assert len(seen) == 2  # the mended one, and the other again


def test_a_class_without_a_readable_file_is_an_error(photos: Path):
    for path in (photos / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the images of dog in"):
        load_folder(photos, CLASSES, SHAPE, "skip")


class Usage(NamedTuple):
    free: int


def test_a_full_disk_is_an_error_before_anything_is_written(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000))
    with pytest.raises(ValueError, match=r"24 images of 16 × 20 pixels take 0.00 GB in .* set CNNZOO_CACHE"):
        load_folder(photos, CLASSES, SHAPE)
    assert not list(cache.glob("*/*.pixels"))


def test_the_photo_is_turned_upright_by_its_exif_orientation(tmp_path: Path):
    photos = write(tmp_path / "photos", 2)
    picture = Image.fromarray(np.zeros((20, 16, 3), np.uint8))
    picture.paste((255, 255, 255), (0, 0, 16, 10))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° to the right
    picture.save(photos / "cat/00.png", exif=exif)
    images, *_ = load_folder(photos, CLASSES, SHAPE)
    assert images[0, :, :, 15:].float().mean() > 200 > 50 > images[0, :, :, :5].float().mean()


def sizes(data: ImageFolderDataModule) -> dict[str, int]:
    data.setup("fit")
    data.setup("test")
    return {name: len(split) for name, split in data.splits.items()}


def positions(data: ImageFolderDataModule, part: str) -> list[int]:
    return data.splits[part].indices.tolist()


def test_one_folder_of_classes_is_split_in_three(tmp_path: Path):
    photos = write(tmp_path / "photos", 200)
    data = ImageFolderDataModule(photos, size=(16, 20), val_fraction=0.2, test_fraction=0.25)
    found = sizes(data)
    assert sum(found.values()) == 400
    assert found["test"] == pytest.approx(100, abs=30)  # 3.5 standard deviations of a binomial distribution
    assert found["val"] == pytest.approx(60, abs=25)
    for part, expected_of_each in (("test", 50), ("val", 30)):  # of each class: 3.5 standard deviations, too
        of_each = data.splits[part].labels[positions(data, part)].bincount().tolist()
        assert of_each == pytest.approx([expected_of_each] * 2, abs=21 if part == "test" else 18)
    parts = [positions(data, part) for part in ("train", "val", "test")]
    assert sorted(itertools.chain(*parts)) == list(range(400))
    images, labels = data.load(train=False)
    assert torch.equal(images, data.splits["test"][torch.arange(found["test"])][0])
    assert len(labels) == found["test"]
    assert len(data.load(train=True)[1]) == 400 - found["test"]
    assert data.classes == CLASSES
    other = ImageFolderDataModule(photos, size=(16, 20), val_fraction=0.2, test_fraction=0.25, seed=1)
    sizes(other)
    assert positions(other, "test") != positions(data, "test")


def test_photos_that_are_added_move_no_others(tmp_path: Path):
    def parts(data: ImageFolderDataModule) -> dict[bytes, str]:
        sizes(data)
        return {
            split[torch.tensor([n])][0].numpy().tobytes(): part
            for part, split in data.splits.items()
            for n in range(len(split))
        }

    everything = write(tmp_path / "everything", 60)
    some = tmp_path / "some/everything"
    for path in sorted(everything.glob("*/*.png"))[::2]:
        (some / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, some / path.parent.name)
    before, after = (parts(ImageFolderDataModule(folder, size=(16, 20))) for folder in (some, everything))
    assert len(before) == 60
    assert {pixels: after[pixels] for pixels in before} == before


@pytest.mark.parametrize(("n", "val_fraction"), [(3, 0.1), (2, 0.0)])
def test_a_small_class_has_an_image_in_every_part(tmp_path: Path, n: int, val_fraction: float):
    photos = write(tmp_path / "photos", n)
    for seed in range(20):
        data = ImageFolderDataModule(photos, size=(16, 20), val_fraction=val_fraction, seed=seed)
        sizes(data)
        for part in ("train", "val", "test") if val_fraction else ("train", "test"):
            assert data.splits[part].labels[positions(data, part)].bincount().tolist() == [1, 1]


def test_a_class_that_is_too_small_says_what_it_needs(tmp_path: Path):
    photos = write(tmp_path / "photos")
    for path in sorted((photos / "dog").iterdir())[2:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"too few images like dog/0\d.png: each class needs one for each split"):
        ImageFolderDataModule(photos, size=(16, 20)).setup("fit")


def test_hidden_files_are_left_out_and_links_are_followed_once(photos: Path, caplog: pytest.LogCaptureFixture):
    whole = expected(photos)
    for name in ("cat/._00.png", "cat/.trash/00.png", "dog/.png"):  # the first is what macOS adds to archives
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"not a picture")
    (photos / "cat/all").symlink_to(photos / "cat")
    (photos / "dog/zz.webp").write_bytes(b"another format")
    images, *_ = load_folder(photos, CLASSES, SHAPE)
    assert (images.numpy() == whole).all()
    assert "1 .webp in" in caplog.text
    (photos / "dog/zz.png").symlink_to(photos / "nowhere.png")
    with pytest.raises(ValueError, match=r"dog/zz\.png: No such file or directory"):
        load_folder(photos, CLASSES, SHAPE)


def test_links_to_themselves_and_to_other_classes(photos: Path):
    whole = expected(photos)
    (photos / "dog/cats").symlink_to(photos / "cat")
    (photos / "cat/up").symlink_to("..")
    (photos / "self").symlink_to("self")
    images, labels, _ = load_folder(photos, CLASSES, SHAPE)
    assert (images.numpy() == whole).all()
    assert labels.bincount().tolist() == [12, 12]
    (photos / "cat/self.png").symlink_to("self.png")
    with pytest.raises(ValueError, match=r"cat/self\.png: Too many levels"):
        load_folder(photos, CLASSES, SHAPE)


@pytest.mark.parametrize("name", ["two\nlines", "reversed \u202e", "no UTF-8: \udcff"])
def test_a_folder_that_cannot_name_a_class_is_an_error(photos: Path, name: str):
    (photos / "cat").rename(photos / name)
    with pytest.raises(ValueError, match="cannot name a class: rename it"):
        ImageFolderDataModule(photos, size=(16, 20)).setup("fit")


def test_a_part_that_is_missing_and_folders_that_are_left_out_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for name in ("Train", "val", "drafts"):
        write(tmp_path / "photos" / name, 2)
    data = ImageFolderDataModule(tmp_path / "photos", size=(16, 20))
    data.prepare_data()
    assert "drafts in" in caplog.text
    with pytest.raises(FileNotFoundError, match="has Train/, val/ but no test/: add it"):
        data.setup("test")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolderDataModule(tmp_path / "nowhere").setup("fit")


def test_jpegs_as_a_browser_on_windows_names_them(photos: Path):
    whole = expected(photos)
    for path in [*photos.rglob("*.png")][:5]:
        path.rename(path.with_suffix(".jfif"))
    assert (load_folder(photos, CLASSES, SHAPE)[0].numpy() == whole).all()


def test_a_class_of_other_formats_says_so(photos: Path):
    (photos / "cat/more.webp").touch()
    for path in (photos / "dog").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(FileNotFoundError, match=r"no PNG or JPEG images in .*dog \(it has 12 .heic\)"):
        load_folder(photos, CLASSES, SHAPE)


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "validation", "testing"), ("train",)])
def test_the_folders_of_a_split_may_have_other_names(tmp_path: Path, names: tuple[str, ...]):
    for name in names:
        write(tmp_path / "photos" / name, 4)
    data = ImageFolderDataModule(tmp_path / "photos", size=(16, 20))
    data.setup("fit")
    assert data.classes == CLASSES
    assert (len(data.splits["train"]) == 8) is ("validation" in names)


def test_a_class_may_be_called_train(tmp_path: Path):
    data = ImageFolderDataModule(write(tmp_path / "vehicles", 4, ("car", "train")), size=(16, 20))
    assert data.classes == ("car", "train")
    assert sum(sizes(data).values()) == 8


def test_two_folders_for_one_part_are_an_error(tmp_path: Path):
    for name in ("train", "val", "validation"):
        write(tmp_path / "photos" / name, 2)
    with pytest.raises(ValueError, match="are both for val: keep one"):
        ImageFolderDataModule(tmp_path / "photos", size=(16, 20)).setup("fit")


def test_a_val_folder_is_used_for_validation(tmp_path: Path):
    for part, n in (("train", 5), ("val", 3), ("test", 2)):
        write(tmp_path / "photos" / part, n)
    data = ImageFolderDataModule(tmp_path / "photos", size=(16, 20), val_fraction=0)
    assert sizes(data) == {"train": 10, "val": 6, "test": 4}
    assert len(data.val_dataloader()) == 1
    assert data.validates
    arguments = {"data_dir": str(tmp_path / "photos"), "size": [16, 20], "val_fraction": 0}
    recipe = {"data": {"class_path": "ImageFolderDataModule", "init_args": arguments}}
    check_grid({**recipe, "seed_everything": 0}, [seed_axis("0,1")])  # a sweep can choose by them


def test_classes_must_be_the_same_in_every_part(tmp_path: Path):
    write(tmp_path / "photos/train", 4)
    write(tmp_path / "photos/test", 2, ("cat", "mouse"))
    data = ImageFolderDataModule(tmp_path / "photos", size=(16, 20))
    with pytest.raises(ValueError, match="holds the classes cat, mouse: expected cat, dog"):
        data.setup("test")


def test_the_folder_may_be_the_current_one(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos)
    images, *_ = load_folder(Path("."), CLASSES, SHAPE)
    assert (images.numpy() == expected(photos)).all()


def test_a_file_that_could_not_be_opened_is_tried_again(photos: Path, monkeypatch: pytest.MonkeyPatch):
    read = Path.read_bytes

    def denied(path: Path) -> bytes:
        if path.name == "03.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    whole = expected(photos)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", denied)
        for _ in range(2):  # each tries the file again, and copies the others
            opened, *_ = load_folder(photos, CLASSES, SHAPE, "skip")
            assert (opened.numpy() == np.delete(whole, [3, 15], axis=0)).all()
    assert (load_folder(photos, CLASSES, SHAPE)[0].numpy() == whole).all()


def test_photos_are_decoded_where_no_space_can_be_reserved(photos: Path, monkeypatch: pytest.MonkeyPatch):
    """macOS and Windows have no posix_fallocate."""
    monkeypatch.delattr("os.posix_fallocate")
    assert (load_folder(photos, CLASSES, SHAPE)[0].numpy() == expected(photos)).all()


def test_the_name_of_a_folder_given_by_dots(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos / "cat")
    assert ImageFolderDataModule("..").describe()["name"] == photos.name
