"""Cost of a large folder of photos: decoding it once, starting again, and reading an epoch.

    python benchmarks/photos.py [--photos 25000] [--side 224]

Photos are JPEG files of 500 × 375 pixels: 500 different ones, copied under other names. Prints minutes and photos a
second of the decoding by all cores, the size of the pixels, and seconds to start again with nothing to decode and with
ten changed files. Then images a second of reading an epoch in batches of 32: cold, with nothing of the file in memory;
warm; and with the augmentation of the recipe `photos`. Writes benchmarks/photos.json. Needs an otherwise idle machine.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import machine, number, options, output_of, save, show
from PIL import Image

from cnnzoo.datamodules import Augmentation, ImageFolderDataModule

DIFFERENT = 500
CLASSES = 10
BATCH = 32
RECIPE = Augmentation(crop=0.4, flip=True, brightness=0.2, contrast=0.3, saturation=0.3)


def write(folder: Path, photos: int) -> None:
    """Write photos: smooth shapes with some noise, which JPEG compresses as it does real ones, to about 45 kB."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    originals = []
    for n in range(min(DIFFERENT, photos)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + rng.normal(0, 12, (375, 500, 1))
        path = folder / f"class{n % CLASSES}" / f"{n:06}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)
        originals.append(path)
    for n in range(len(originals), photos):
        shutil.copyfile(originals[n % DIFFERENT], folder / f"class{n % CLASSES}" / f"{n:06}.jpg")


def seconds_to_load(folder: Path, side: int) -> tuple[float, ImageFolderDataModule]:
    """Create the data module and load the training split."""
    data = ImageFolderDataModule(folder, size=(side, side), batch_size=BATCH, augmentation=RECIPE)
    start = time.perf_counter()
    data.prepare_data()
    data.setup("fit")
    return time.perf_counter() - start, data


def images_a_second(data: ImageFolderDataModule, augment: bool) -> float:
    """Read an epoch, at most a minute of it."""
    count, start = 0, time.perf_counter()
    for number_of_batch, (images, _) in enumerate(data.train_dataloader()):
        if augment:
            images = RECIPE(images, (0, 0, number_of_batch), 0, 1)
        count += len(images)
        int(images[0, 0, 0, 0])
        if time.perf_counter() - start > 60:
            break
    return count / (time.perf_counter() - start)


def forget(folder: Path) -> None:
    """Drop the files of a folder from the page cache."""
    os.sync()
    for path in folder.rglob("*.pixels"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--photos", type=int, default=25_000)
    parser.add_argument("--side", type=int, default=224)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as name:
        photos, pixels = Path(name, "photos"), Path(name, "cache")
        os.environ["CNNZOO_CACHE"] = str(pixels)
        write(photos, args.photos)
        megabytes = sum(path.stat().st_size for path in photos.rglob("*.jpg")) / 1e6
        decoding, data = seconds_to_load(photos, args.side)
        del data
        again, _ = seconds_to_load(photos, args.side)
        for path in sorted(photos.rglob("*.jpg"))[:10]:
            os.utime(path)
        changed, data = seconds_to_load(photos, args.side)
        forget(pixels)
        report = {
            "photos": args.photos,
            "side": args.side,
            "jpeg_megabytes": megabytes,
            "pixels_megabytes": sum(path.stat().st_size for path in pixels.rglob("*.pixels")) / 1e6,
            "decoding_minutes": decoding / 60,
            "photos_a_second": args.photos / decoding,
            "start_again_seconds": again,
            "start_after_ten_changes_seconds": changed,
            "cold_images_a_second": images_a_second(data, augment=False),
            "warm_images_a_second": images_a_second(data, augment=False),
            "augmented_images_a_second": images_a_second(data, augment=True),
        }
    show("a folder of photos", ["", ""], [[key, number(value)] for key, value in report.items()])
    save(output_of(parser, args), report | {"machine": machine()})


if __name__ == "__main__":
    main()
