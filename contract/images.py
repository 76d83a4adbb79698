"""The path from the bytes of a PNG or JPEG to a network's input.

Training data, `cnnzoo predict` and the service all use it, so that a network sees in use what it saw in training.
"""

import io
import math
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from . import handwriting
from .card import Preparation

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif")  # of files that `decode` reads
MAX_PIXELS = 25_000_000  # of an image: 75 MB as RGB
PILLOW_MAX_PIXELS = 178_956_970  # Image.open raises above it: twice Image.MAX_IMAGE_PIXELS
MAX_SIDE = 65_535  # pixels of width or height, as in a JPEG: an image with 25 million rows takes seconds to decode
MAX_FILE = 2**29  # bytes of an image file
MAX_SCANS = 100  # of a JPEG, each of which passes over the whole image; a progressive one has about 10
MAX_EXIF = 100  # EXIF segments of a JPEG, which Pillow joins one by one
MAX_PAGE = 1024  # pixels along the longer side of an image in which handwriting is searched

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # decode has a limit of its own


# The start of a scan, with its length and its number of components. Other data hardly contains it, such as a film that
# a phone appends.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


class UndecodableImage(ValueError):
    """Bytes that are not a decodable PNG or JPEG."""


class ImageTooLarge(UndecodableImage):
    """An image with more pixels than the limit, with a side that is too long, or in a file that is too large."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a PNG or JPEG, and turn it upright by its EXIF orientation.

    Args:
        max_pixels: limit of width × height, at most PILLOW_MAX_PIXELS.

    Raises ImageTooLarge before any pixel is decoded, UndecodableImage, or MemoryError.
    """
    if not data:
        raise UndecodableImage("it is empty")
    if data.startswith(b"\xff\xd8") and (len(_SCAN.findall(data)) > MAX_SCANS or data.count(b"Exif\0\0") > MAX_EXIF):
        raise UndecodableImage(f"the JPEG has more than {MAX_SCANS} scans or {MAX_EXIF} EXIF segments")
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        size = f"the image has {image.width} × {image.height} pixels"
        if image.width * image.height > max_pixels:
            raise ImageTooLarge(f"{size}: at most {max_pixels:,} are accepted")
        if max(image.size) > MAX_SIDE:
            raise ImageTooLarge(f"{size}: at most {MAX_SIDE:,} along a side are accepted")
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image
    except Image.DecompressionBombError:
        limit = min(max_pixels, PILLOW_MAX_PIXELS)
        raise ImageTooLarge(f"the image has more than {limit:,} pixels: send a smaller one") from None
    except UnidentifiedImageError:
        raise UndecodableImage("not a PNG or JPEG image") from None
    except (UndecodableImage, MemoryError):
        raise
    except Exception as error:  # damaged files and EXIF raise many different exceptions
        raise UndecodableImage(f"the image is damaged ({error})") from None


def fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image as uint8 [C, H, W] of `shape`.

    Crops around the center to the proportions of `shape`, then resizes with antialiasing. Transparent parts become
    white. Decoded datasets are kept in files: a change of these pixels needs another FORMAT in datamodules/decoded.py.
    """
    return _pixels(_scaled(image, shape))


def _scaled(image: Image.Image, shape: tuple[int, int, int]) -> Image.Image:
    channels, height, width = shape
    image = to_mode(image, "L" if channels == 1 else "RGB")
    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _through_jpeg(image: Image.Image) -> Image.Image:
    """Return an image as a JPEG of quality 75 keeps it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer, formats=("JPEG",))


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image to `mode` (L or RGB), on white where it is transparent."""
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey, which convert() would clip
        values, transparent = np.asarray(image, np.int32), image.info.get("transparency")
        image = Image.fromarray(np.where(values == transparent, 255, (values >> 8).clip(0, 255)).astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image)  # Image.alpha_composite would need two more images of this size
        image = page
    return image if image.mode == mode else image.convert(mode)


def to_input(image: Image.Image, shape: tuple[int, int, int], prepare: Preparation) -> np.ndarray:
    """Return a network's input for an image: uint8 [C, H, W] of `shape`.

    Args:
        prepare: the card's field. "photo": crop and resize. "photo_jpeg75": then also lose what a JPEG of quality 75
            loses. "mnist" and "digits": find the handwriting and frame it as that dataset does. An image of the
            network's size with a dark border counts as framed: it is not changed.
    """
    if prepare == "photo":
        return fit(image, shape)
    if prepare == "photo_jpeg75":
        return _pixels(_through_jpeg(_scaled(image, shape)))
    page = to_mode(image, "L")
    if (factor := math.ceil(max(page.size) / MAX_PAGE)) > 1:
        page = page.reduce(factor)  # a few hundred pixels show the strokes
    grey = np.asarray(page)
    if grey.shape == shape[1:] and not handwriting.dark_on_light(grey):
        return np.repeat(grey[None], shape[0], axis=0)
    frame = {"mnist": handwriting.frame_mnist, "digits": handwriting.frame_digits}[prepare]
    return fit(Image.fromarray(frame(handwriting.strokes(grey))), shape)


def read_image(file: Path) -> Image.Image:
    """Return the decoded image of a file. Raises as `decode`, and OSError."""
    if (size := file.stat().st_size) > MAX_FILE:
        raise ImageTooLarge(f"the file has {size:,} bytes: at most {MAX_FILE:,} are read")
    return decode(file.read_bytes())


def read_input(file: Path, shape: tuple[int, int, int], prepare: Preparation) -> np.ndarray:
    """Return a network's input for an image file, as `to_input`.

    Raises FileNotFoundError, and UndecodableImage that names the file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no such image: {file}")
    try:
        return to_input(read_image(file), shape, prepare)
    except UndecodableImage as error:
        raise UndecodableImage(f"{file}: {error}") from None
