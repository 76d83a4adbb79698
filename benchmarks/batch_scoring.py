"""Speed and memory of `cnnzoo predict --output`, compared with a plain loop over a process pool.

    python benchmarks/batch_scoring.py [--images 100000] [--rounds 3]

plain is what one would write by hand: a process for each core decodes with Pillow and asks ONNX Runtime for 64 images
at a time, and the first process writes a CSV. Both sides take turns over the same files, from start to end: --images
PNGs of 28 × 28 pixels, a fiftieth as many PNGs of 32 × 32, and a tenth as many JPEGs of 500 × 375. Prints images a
second, the ratio of the medians, and the memory of `predict`'s largest process for a tenth of the files and for all.
Writes benchmarks/batch_scoring.json. Needs an otherwise idle machine.
"""

import csv
import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from common import machine, median, number, options, output_of, run_alone, save, show, take_turns
from PIL import Image, ImageOps
from sklearn.datasets import load_digits, load_sample_images

from cnnzoo.contract.zoo_folder import find_file

BATCH, FOLDER = 64, 1000  # images in a batch, and in a folder
DIFFERENT = 500  # images; the others are copies
TOP = 3
session: ort.InferenceSession  # of a process of the pool


def digits() -> list[bytes]:
    """Return handwritten digits as PNGs of MNIST's size."""
    pictures = (Image.fromarray((pixels * 15).astype(np.uint8)) for pixels in load_digits().images[:DIFFERENT])
    return [_encoded(ImageOps.expand(picture.resize((20, 20)), 4), "PNG") for picture in pictures]


def crops(size: tuple[int, int], kind: str) -> list[bytes]:
    """Return crops of photos."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    rng = np.random.default_rng(0)
    found = []
    for n in range(DIFFERENT):
        photo = photos[n % len(photos)]
        left, top = (int(rng.integers(room)) for room in (photo.width - size[0] + 1, photo.height - size[1] + 1))
        found.append(_encoded(photo.crop((left, top, left + size[0], top + size[1])), kind))
    return found


CASES: dict[str, tuple[str, float, Callable[[], list[bytes]]]] = {
    "PNG, 28 × 28": ("mnist_cnn", 1.0, digits),
    "PNG, 32 × 32": ("cifar10_speednet", 0.02, partial(crops, (32, 32), "PNG")),
    "JPEG, 500 × 375": ("cifar10_cnn", 0.1, partial(crops, (500, 375), "JPEG")),
}
"""Name for each kind of image the network, the share of --images, and the function that makes some."""


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    return buffer.getvalue()


def write(folder: Path, images: list[bytes], count: int) -> None:
    """Write `count` files."""
    suffix = ".png" if images[0].startswith(b"\x89PNG") else ".jpg"
    for n in range(count):
        path = folder / f"{n // FOLDER:04}" / f"{n:07}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images[n % len(images)])


def predict(model: str, folder: str, output: str) -> dict[str, float]:
    """Run `cnnzoo predict`; return seconds, and the memory of its largest process in MB."""
    command = [sys.executable, "-m", "cnnzoo", "predict", model, folder, "--output", output]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"seconds": time.perf_counter() - start, "megabytes": used.ru_maxrss / 1024}


def plain(model: str, folder: str, output: str) -> dict[str, float]:
    """Score with a process pool; return seconds."""
    start = time.perf_counter()
    files = sorted(str(path) for path in Path(folder).rglob("*.*") if path.is_file())
    batches = [files[n : n + BATCH] for n in range(0, len(files), BATCH)]
    with (
        multiprocessing.get_context("spawn").Pool(os.cpu_count(), _open, (str(find_file(model)),)) as pool,
        open(output, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        for rows in pool.imap(_score, batches):
            writer.writerows(rows)
    return {"seconds": time.perf_counter() - start}


def _open(path: str) -> None:
    global session
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def _score(files: list[str]) -> list[list[Any]]:
    channels, height, width = session.get_inputs()[0].shape[1:]
    pictures = []
    for file in files:
        image = Image.open(file).convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height))
        pictures.append(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1))
    probabilities = session.run(["probabilities"], {"images": np.stack(pictures)})[0]
    best = np.argsort(-probabilities, axis=1)[:, :TOP]
    scored = zip(files, best, probabilities, strict=True)
    return [[file, *label.tolist(), *row[label].tolist()] for file, label, row in scored]


def main() -> None:
    """Measure, print and save."""
    parser = options(__doc__, __file__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rows = []
    for kind, (model, share, make) in CASES.items():
        count = round(args.images * share)
        with tempfile.TemporaryDirectory() as name:
            folder, output = f"{name}/images", f"{name}/answers.csv"
            write(Path(folder), make(), count // 10)
            few = predict(model, folder, output)["megabytes"]
            write(Path(folder), make(), count)
            sides = {side.__name__: partial(run_alone, side, model, folder, output) for side in (plain, predict)}
            found = take_turns(sides, args.rounds)
            shutil.rmtree(folder)
        rates = {side: count / (median(rounds, "seconds") or 0) for side, rounds in found.items()}
        rows.append({
            "kind": kind, "model": model, "images": count, "plain_a_second": rates["plain"],
            "predict_a_second": rates["predict"], "ratio": rates["predict"] / rates["plain"],
            "megabytes_for_a_tenth": few, "megabytes": median(found["predict"], "megabytes"),
        })  # fmt: skip
    show("batch scoring", list(rows[0]), [[v if isinstance(v, str) else number(v) for v in r.values()] for r in rows])
    save(output_of(parser, args, "rounds"), {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
