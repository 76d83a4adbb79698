"""From the bytes of a PNG or JPEG to a network's input."""

import io
import math
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from . import ink

MAX_PIXELS = 25_000_000  # of a picture: 75 MB as RGB
MAX_SIDE = 65_535  # pixels of width or height, as in a JPEG: a picture of 25 million rows takes seconds to decode
MAX_PAGE = 1024  # pixels along a page's longer side, when ink is looked for on it

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # decode has a limit of its own


class UndecodableImage(ValueError):
    """Bytes that are not a PNG or JPEG that can be decoded."""


class PictureTooLarge(UndecodableImage):
    """A picture of more pixels than are accepted."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data`, upright as its EXIF orientation says.

    Raises UndecodableImage, or PictureTooLarge before anything of it is decoded.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        if image.width * image.height > max_pixels:
            raise PictureTooLarge(
                f"the picture has {image.width} × {image.height} pixels: at most {max_pixels:,} are accepted"
            )
        if max(image.size) > MAX_SIDE:
            raise PictureTooLarge(
                f"the picture is {image.width} × {image.height} pixels: at most {MAX_SIDE:,} along a side are accepted"
            )
        image.load()
        return ImageOps.exif_transpose(image)
    except Image.DecompressionBombError:
        raise PictureTooLarge(f"the picture has more than {max_pixels:,} pixels") from None
    except UnidentifiedImageError:
        raise UndecodableImage("not a PNG or JPEG image") from None
    except UndecodableImage:
        raise
    except Exception as error:  # a damaged file, or damaged EXIF, fails in whatever way its reader happens to
        raise UndecodableImage(f"the image is damaged ({error})") from None


def is_small(data: bytes) -> bool:
    """Whether `data` is a PNG that is decoded in less time than handing it to a thread takes."""
    # Pillow takes the size from whatever chunk says it last: it must be the first one, and the only one.
    if len(data) > 4096 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or data.count(b"IHDR") > 1:
        return False
    width, height = struct.unpack(">II", data[16:24])
    return width * height <= 4096


def fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture as uint8 [C, H, W] of `shape`: cropped around its centre to the wanted
    proportions and resized with antialiasing. Transparent parts lie on white."""
    channels, height, width = shape
    image = in_mode(image, "L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in `mode` (L or RGB), flattened onto white where it is transparent."""
    if image.mode.startswith("I;16") or image.mode == "I":  # 16 bits of grey; convert() would clip
        image = Image.fromarray((np.asarray(image, np.int32) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def to_input(image: Image.Image, shape: tuple[int, int, int], prepare: str) -> np.ndarray:
    """What a network of input `shape` is given for a picture: uint8 [C, H, W].

    `prepare` is a card's. "photo": cropped and resized. "mnist" and "digits", whose networks only
    know light strokes on dark in a tight frame: the ink is looked for and framed as that dataset
    was made; a picture that already has the network's size and a dark border is taken to be framed.
    """
    if prepare == "photo":
        return fit(image, shape)
    page = in_mode(image, "L")
    # Handwriting ends in a few hundred pixels: what is done to find it need not be done to 25 million.
    page = page.reduce(max(1, math.ceil(max(page.size) / MAX_PAGE)))
    grey = np.asarray(page)
    if grey.shape == shape[1:] and not ink.dark_on_light(grey):
        return grey[None]
    frame = {"mnist": ink.frame_mnist, "digits": ink.frame_digits}[prepare]
    return fit(Image.fromarray(frame(ink.strokes(grey))), shape)
