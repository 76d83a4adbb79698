"""Test the path from the bytes of an image to a network's input."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import png
from PIL import Image, ImageDraw, ImageOps

from cnnzoo.contract import images
from cnnzoo.contract.card import Preparation
from cnnzoo.contract.handwriting import dark_on_light, frame_digits, frame_mnist, strokes
from cnnzoo.contract.image_files import image_files
from cnnzoo.contract.images import ImageTooLarge, UndecodableImage, decode, fit, read_image, to_input


def encoded(image: Image.Image, kind: str = "PNG", **save) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(row, (height, 1)), np.zeros((height, width), np.uint8)] * 2, 2)[..., :3])


def test_an_image_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(decode(encoded(Image.fromarray(pixels))), (3, 32, 32)), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 32)])
def test_a_network_of_jpegs_sees_a_photo_as_it_sees_its_own_images(shape: tuple[int, int, int]):
    """A JPEG of quality 75 stays as it is, a sharp image does not."""
    sharp = Image.fromarray(np.random.default_rng(0).normal(128, 20, (32, 32)).astype(np.uint8)).convert("RGB")
    seen = decode(encoded(sharp, "JPEG", quality=75))

    def change(image: Image.Image) -> float:
        prepared = to_input(image, shape, "photo_jpeg75").astype(int)
        assert prepared.shape == shape
        return float(np.abs(prepared - fit(image, shape)).mean())

    assert change(seen) < 0.5
    assert change(sharp) > 5


def test_exif_orientation_is_obeyed():
    upright = gradient(40, 20)
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # as a camera held sideways stores it
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270° to show
    seen = decode(encoded(turned, "JPEG", exif=exif, quality=95))
    assert seen.size == (40, 20)
    np.testing.assert_allclose(np.asarray(seen, int)[..., 0], np.asarray(upright, int)[..., 0], atol=12)


def test_resizing_is_antialiased():
    """A fine checkerboard becomes an even grey, not a moiré pattern."""
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    small = fit(Image.fromarray(board), (1, 32, 32))
    assert np.abs(small.astype(int) - 127).max() < 12


def test_proportions_are_kept_by_cropping_around_the_centre():
    image = Image.new("RGB", (96, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    assert (fit(image, (3, 32, 32))[2] > 200).mean() > 0.9


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_of_picture_arrives(mode: str):
    source = Image.new("L", (40, 40), 200)
    image = (
        Image.new("I;16", (40, 40), 200 * 256 + 17)
        if mode == "I;16"
        else source.convert(mode, dither=Image.Dither.NONE)
    )
    data = encoded(image, "JPEG", quality=100) if mode == "CMYK" else encoded(image)
    expected = 255 if mode == "1" else 200
    for channels in (1, 3):
        pixels = fit(decode(data), (channels, 8, 8))
        assert pixels.shape == (channels, 8, 8)
        np.testing.assert_allclose(pixels, expected, atol=3)


def test_half_transparent_pixels_are_blended_with_white():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    alpha = pixels[..., 3:] / 255
    expected = alpha * pixels[..., :3] + (1 - alpha) * 255
    found = fit(decode(encoded(Image.fromarray(pixels))), (3, 64, 64)).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 1


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    assert (fit(image, (3, 10, 10)) == 255).all()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(50), b"%!PS-Adobe"])
def test_what_is_no_picture(data: bytes):
    with pytest.raises(UndecodableImage):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_picture_is_refused(kind: str):
    data = encoded(Image.effect_noise((64, 64), 80), kind)
    with pytest.raises(UndecodableImage, match="damaged"):
        decode(data[: len(data) // 2])


def test_other_formats_are_not_opened():
    with pytest.raises(UndecodableImage, match="not a PNG or JPEG"):
        decode(encoded(Image.new("RGB", (4, 4)), "TIFF"))


def test_the_pixels_are_counted_before_they_are_decoded(monkeypatch):
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge, match=f"{images.MAX_PIXELS:,}"):
        decode(bomb)


# Handwriting


def drawing(size: int = 300, ink: str = "black", paper: str = "white", at: tuple[int, int] = (60, 20)) -> Image.Image:
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    x, y = at
    draw.line([(x, y), (x + 80, y), (x + 30, y + 140)], fill=ink, width=14)  # a seven
    return image


def test_a_drawing_is_framed_as_mnist_is():
    pixels = to_input(drawing(), (1, 28, 28), "mnist")[0].astype(float)
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    y, x = np.indices(pixels.shape)
    assert (pixels * y).sum() / pixels.sum() == pytest.approx(14, abs=0.5)
    assert (pixels * x).sum() / pixels.sum() == pytest.approx(14, abs=0.5)
    assert pixels.max() == 255
    assert pixels[0].max() == 0


def test_a_drawing_is_framed_as_the_digits_are():
    pixels = to_input(drawing(), (1, 8, 8), "digits")[0]
    assert pixels[0].any()
    assert pixels[7].any()
    assert set(np.unique(pixels)) <= set(np.rint(np.arange(17) * (255 / 16)).astype(int))


def test_a_picture_too_long_for_its_width_is_refused():
    with pytest.raises(ImageTooLarge, match="at most 65,535 along a side"):
        decode(png(np.zeros((70_000, 1), np.uint8)))


@pytest.mark.parametrize("prepare", ["mnist", "digits"])
def test_where_how_large_and_in_what_colours_it_was_drawn_does_not_matter(prepare: Preparation):
    shape = {"mnist": (1, 28, 28), "digits": (1, 8, 8)}[prepare]
    reference = to_input(drawing(), shape, prepare).astype(int)
    others = [
        drawing(at=(150, 130)),
        drawing(size=500, at=(3, 300)),
        drawing(ink="white", paper="black"),
        drawing(ink="#223388", paper="#e8e0d0"),
        ImageOps.grayscale(drawing()).resize((600, 600)),
    ]
    for other in others:
        difference = np.abs(to_input(other, shape, prepare).astype(int) - reference)
        assert difference.mean() < 8, difference


def test_an_empty_picture_gives_an_empty_input():
    for colour in ("white", "black", "gray"):
        assert not to_input(Image.new("RGB", (50, 60), colour), (1, 28, 28), "mnist").any()


def test_a_shadow_across_the_paper_is_not_ink():
    shadow = np.linspace(0.55, 0.9, 300)[None, :, None]
    shaded = Image.fromarray((np.asarray(drawing(ink="#202020"), float) * shadow).astype(np.uint8))
    even = to_input(drawing(), (1, 28, 28), "mnist").astype(int)
    assert np.abs(to_input(shaded, (1, 28, 28), "mnist").astype(int) - even).mean() < 8


@pytest.mark.parametrize("size", [28, 200])
def test_noise_has_no_ink(size: int):
    noise = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    assert not strokes(noise).any()


def test_a_stroke_may_touch_much_of_the_border():
    """A tightly cropped zero: over a third of the border is ink."""
    image = Image.new("L", (60, 90), "white")
    ImageDraw.Draw(image).rounded_rectangle((0, 0, 59, 89), radius=25, outline="black", width=12)
    ink = strokes(np.asarray(image))
    assert ink.shape == (90, 60)
    assert 0.2 < (ink > 127).mean() < 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_any_shape_of_ink_can_be_framed(shape: tuple[int, int]):
    ink = np.full(shape, 255, np.uint8)
    assert frame_mnist(ink).shape == (28, 28)
    assert frame_digits(ink).shape == (8, 8)


def test_framed_pictures_of_the_networks_size_are_left_alone(digits):
    for image in digits[0][:50].numpy():
        np.testing.assert_array_equal(to_input(Image.fromarray(image[0]), (1, 8, 8), "digits"), image)


@pytest.mark.data
def test_mnist_images_come_through_their_own_framing_almost_unchanged(data_dir):
    """Enlarge a digit, invert it and paste it anywhere on a page: framing returns MNIST's own image."""
    from cnnzoo.datamodules import MNISTDataModule

    digits = MNISTDataModule(data_dir).load(train=True)[0][:300, 0].numpy()
    rng = np.random.default_rng(0)
    differences = []
    for digit in digits:
        page = Image.new("L", (400, 300), 255)
        page.paste(
            ImageOps.invert(Image.fromarray(digit).resize((140, 140), Image.Resampling.BICUBIC)),
            (int(rng.integers(0, 260)), int(rng.integers(0, 160))),
        )
        differences.append(np.abs(to_input(page, (1, 28, 28), "mnist")[0].astype(int) - digit).mean())
    assert np.median(differences) < 10
    assert torch.tensor(differences).quantile(0.95) < 20


def test_the_ink_is_cropped_to_its_extent():
    page = np.full((50, 70), 250, np.uint8)
    page[10:22, 30:37] = 5
    np.testing.assert_array_equal(strokes(page), np.full((12, 7), 255, np.uint8))


@pytest.mark.parametrize("size", [(20, 60_000), (60_000, 20), (50, 20_000), (5000, 5000)])
def test_no_shape_of_page_costs_much(size: tuple[int, int]):
    """A PNG of a few kilobytes must not make the framing allocate gigabytes."""
    import tracemalloc

    page = Image.new("L", size, 255)
    page.paste(0, (size[0] // 2, 0, size[0] // 2 + 1, size[1]))
    data = encoded(page)
    cases: list[tuple[tuple[int, int, int], Preparation]] = [((1, 8, 8), "digits"), ((1, 28, 28), "mnist")]
    for shape, prepare in cases:
        tracemalloc.start()
        to_input(decode(data), shape, prepare)
        assert tracemalloc.get_traced_memory()[1] < 200e6
        tracemalloc.stop()


def test_damaged_exif_is_an_undecodable_image(monkeypatch):
    def fails(image):
        raise TypeError("bad operand type for abs(): 'str'")

    monkeypatch.setattr(ImageOps, "exif_transpose", fails)
    with pytest.raises(UndecodableImage, match="damaged"):
        decode(encoded(Image.new("L", (4, 4))))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (28, 28)])
def test_paper_is_light_if_the_median_of_its_border_is(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    for _ in range(200):
        grey = rng.integers(126, 130, shape, dtype=np.uint8)  # where a rounding would show
        border = [*grey[0], *grey[-1], *grey[:, 0], *grey[:, -1]]
        assert dark_on_light(grey) == (np.median(border) > 127)


@pytest.mark.timeout(20)
def test_a_small_jpeg_cannot_take_minutes():
    """Each further EXIF segment copies those before; each further scan passes over the whole image."""
    whole = encoded(Image.new("L", (8, 8)), "JPEG")
    segment = b"\xff\xe1\0\x12Exif\0\0" + bytes(10)
    with pytest.raises(UndecodableImage, match="more than 100 scans or 100 EXIF segments"):
        decode(whole[:2] + segment * 200_000 + whole[2:])
    progressive = encoded(Image.new("RGB", (5000, 5000)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodableImage, match="more than 100 scans or 100 EXIF segments"):
        decode(progressive[:-2] + scan * 10_000 + progressive[-2:])
    assert decode(progressive).size == (5000, 5000)
    film = np.random.default_rng(0).bytes(20_000_000)  # which a phone appends to a photo
    assert decode(whole + film).size == (8, 8)


def test_a_transparent_color_of_16_bits_becomes_white():
    grey = Image.fromarray(np.array([[1000, 40_000]], np.uint16))
    found = fit(decode(encoded(grey, transparency=1000)), (1, 1, 2))
    assert found.tolist() == [[[255, 40_000 >> 8]]]


@pytest.mark.parametrize("prepare", ["mnist", "digits"])
def test_a_framed_drawing_has_as_many_channels_as_the_network(prepare: Preparation):
    drawing = Image.new("L", (28, 28))
    assert to_input(drawing, (3, 28, 28), prepare).shape == (3, 28, 28)


def test_too_little_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(MemoryError):
        decode(b"data")


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path):
    (tmp_path / "a.png").touch()
    os.truncate(tmp_path / "a.png", 2**43)
    with pytest.raises(ImageTooLarge, match="the file has 8,796,093,022,208 bytes: at most 536,870,912 are read"):
        read_image(tmp_path / "a.png")


def test_a_link_to_a_device_is_no_image_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.png").symlink_to(tmp_path / "pipe")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere")  # said to be missing when it is read
    assert [entry.name for entry in image_files(str(tmp_path))] == ["b.png"]
