"""Test that any damaged image gets a documented answer."""

import httpx
import numpy as np
import pytest
from helpers import error, png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(), kind=st.sampled_from(TYPES))
def test_a_damaged_image_alone(client: httpx.Client, data: bytes, kind: str):
    response = client.post(PREDICT, content=data, headers={"Content-Type": kind})
    if response.status_code != 200:
        assert response.status_code in (413, 422), response.text
        error(response, response.status_code)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(damaged(), min_size=1, max_size=8))
def test_damaged_images_in_a_form(client: httpx.Client, contents: list[bytes]):
    """The undamaged image among them is classified."""
    files = [("file", ("damaged", content)) for content in contents] + [("file", ("whole", WHOLE[0]))]
    response = client.post(PREDICT, files=files)
    assert response.status_code == 200, response.text
    *others, whole = response.json()["predictions"]
    assert len(whole["classes"]) == 3
    for prediction in others:
        assert len(prediction.get("classes", ())) == 3 or prediction["code"] in (
            "undecodable_image", "picture_too_large",
        )  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_a_png_of_16_bytes(client: httpx.Client, kind: str):
    """Send the signature and the start of IHDR only."""
    response = client.post(PREDICT, content=WHOLE[0][:16], headers={"Content-Type": kind})
    assert "send a PNG or a JPEG" in error(response, 422)
