"""Test that any damaged image gets a documented answer."""

import io

import httpx
import numpy as np
import pytest
from helpers import error, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cnnzoo.serve.routes.predict import is_small

PREDICT = "/v1/models/digits_cnn/predict"
WHOLE = [
    png(np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)),
    png(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)),
    png(np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8), "JPEG"),
]
TYPES = ("image/png", "image/jpeg")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a PNG or JPEG with up to four places changed, cut or filled."""
    data = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.sampled_from([start, start + 1, start + 4, len(data)]))
        data = data[:start] + draw(st.binary(max_size=6)) + data[end:]
    return data


@pytest.mark.parametrize("examples", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_damaged_image_alone(client: httpx.Client, examples: int):
    @settings(max_examples=examples, deadline=None)
    @given(data=damaged(), kind=st.sampled_from(TYPES))
    def check(data: bytes, kind: str) -> None:
        response = client.post(PREDICT, content=data, headers={"Content-Type": kind})
        if response.status_code != 200:
            assert response.status_code in (413, 422), response.text
            error(response, response.status_code)

    check()


@pytest.mark.parametrize("examples", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_images_in_a_form(client: httpx.Client, examples: int):
    """The undamaged image among them is classified."""

    @settings(max_examples=examples, deadline=None)
    @given(contents=st.lists(damaged(), min_size=1, max_size=8))
    def check(contents: list[bytes]) -> None:
        files = [("file", ("damaged", content)) for content in contents] + [("file", ("whole", WHOLE[0]))]
        response = client.post(PREDICT, files=files)
        assert response.status_code == 200, response.text
        *others, whole = response.json()["predictions"]
        assert len(whole["classes"]) == 3
        for prediction in others:
            failed = prediction.get("code") in ("undecodable_image", "picture_too_large")
            assert failed or len(prediction["classes"]) == 3

    check()


def test_only_a_small_png_is_decoded_on_the_event_loop():
    assert is_small(WHOLE[0])
    assert not is_small(WHOLE[2])  # a JPEG
    assert is_small(png(np.zeros((128, 128), np.uint8)))
    assert not is_small(png(np.zeros((129, 128), np.uint8)))  # few bytes, many pixels
    assert not is_small(png(np.zeros((1024, 16), np.uint8)))  # a digit network pads it to 2049 pixels
    assert not is_small(WHOLE[0] + bytes(2**14))
    assert not any(is_small(WHOLE[0][:n]) for n in range(24))
    note = PngInfo()
    note.add_text("note", "x" * 10**6, zip=True)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG", pnginfo=note)
    assert len(buffer.getvalue()) < 2**14
    assert not is_small(buffer.getvalue())  # a megabyte of text


def test_a_png_with_two_sizes_is_not_decoded_on_the_event_loop():
    small, large = png(np.zeros((8, 8), np.uint8)), png(np.zeros((2000, 2000), np.uint8))
    both = small[:33] + large[8:]  # the signature and IHDR of one, then all chunks of the other
    assert len(both) < 2**14
    assert Image.open(io.BytesIO(both)).size == (2000, 2000)
    assert not is_small(both)


@pytest.mark.parametrize("kind", TYPES)
def test_a_png_of_16_bytes(client: httpx.Client, kind: str):
    """Send the signature and the start of IHDR only."""
    response = client.post(PREDICT, content=WHOLE[0][:16], headers={"Content-Type": kind})
    assert "send a PNG or a JPEG" in error(response, 422)
