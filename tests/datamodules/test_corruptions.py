"""Test what each corruption does to pixels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.datamodules.corruptions import CORRUPTIONS, corrupt

IMAGES = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FLAT = torch.full((8, 3, 32, 32), 100, dtype=torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_it_is_the_same_every_time_and_worse_with_severity(name: str):
    digits = DigitsDataModule().load(train=False)[0]
    before = digits.clone()
    changes = []
    for severity in range(1, 6):
        after = corrupt(digits, name, severity, "black")
        assert after.dtype == torch.uint8
        assert after.shape == digits.shape
        assert torch.equal(after, corrupt(digits, name, severity, "black"))
        changes.append((after.float() - digits.float()).abs().mean().item())
    assert torch.equal(digits, before)
    assert changes == sorted(changes)
    assert changes[-1] > changes[0]
    assert changes[0] > 0 or name == "pixelate"  # 0.95 of 8 pixels are 8


def test_noise_has_the_spread_it_says():
    flat = torch.full((100, 1, 32, 32), 128, dtype=torch.uint8)
    for severity, sigma in enumerate(CORRUPTIONS["noise"][1], start=1):
        drawn = np.clip(np.random.default_rng(7).normal(128, 255 * sigma, 100_000), 0, 255)  # another draw
        assert corrupt(flat, "noise", severity, "black").float().std() == pytest.approx(drawn.std(), rel=0.02)


def test_parts_are_corrupted_as_the_whole_is():
    for name in CORRUPTIONS:
        parts = [corrupt(IMAGES[:3], name, 3, "mirror"), corrupt(IMAGES[3:], name, 3, "mirror", first=3)]
        assert torch.equal(torch.cat(parts), corrupt(IMAGES, name, 3, "mirror"))


def test_tiny_images_can_be_blurred():
    tiny = IMAGES[:, :, :3, :4]
    assert corrupt(tiny, "blur", 5, "black").shape == tiny.shape


def test_brightness_adds():
    assert (corrupt(FLAT, "brightness", 2, "black") == 126).all()  # 100 + 25.5, to the even neighbour
    assert corrupt(IMAGES, "brightness", 5, "black").max() == 255


def test_blur_is_gaussian():
    sigma = CORRUPTIONS["blur"][1][4]
    expected = gaussian_filter(IMAGES[0, 0].numpy().astype(float), sigma, mode="mirror")
    blurred = corrupt(IMAGES, "blur", 5, "black")[0, 0].numpy().astype(float)
    assert np.abs(blurred - expected).max() < 1.6
    assert (corrupt(FLAT, "blur", 5, "black") == 100).all()


def test_contrast_shrinks_the_distance_to_the_mean():
    share = CORRUPTIONS["contrast"][1][2]
    after, before = corrupt(IMAGES, "contrast", 3, "black").float(), IMAGES.float()
    assert (after.mean((2, 3)) - before.mean((2, 3))).abs().max() < 0.2
    assert (after.std((2, 3)) / before.std((2, 3)) - share).abs().max() < 0.01
    assert (corrupt(FLAT, "contrast", 5, "black") == 100).all()


def test_fog_is_smooth_differs_by_image_and_keeps_the_brightest_value():
    foggy = corrupt(FLAT, "fog", 5, "black").float()
    assert 95 <= foggy.max() <= 101
    assert foggy.amin((1, 2, 3)).max() < 50
    assert (foggy[:, :, 1:] - foggy[:, :, :-1]).abs().mean() < 0.15 * (foggy.amax() - foggy.amin())
    assert (foggy[0] - foggy[1]).abs().mean() > 3
    assert torch.equal(foggy[:, 0], foggy[:, 1])  # grey


def test_pixelate_averages_areas():
    big = IMAGES[:, :, :20, :20]  # 0.65 of 20 pixels are 13
    after = corrupt(big, "pixelate", 5, "black")
    assert len(torch.unique(after[0, 0], dim=0)) == 13
    assert len(torch.unique(after[0, 0], dim=1).T) == 13
    assert (after.float().mean() - big.float().mean()).abs() < 2
    assert (corrupt(FLAT, "pixelate", 5, "black") == 100).all()


def test_salt_and_pepper_are_as_many_as_it_says():
    flat = torch.full((100, 1, 32, 32), 100, dtype=torch.uint8)
    for severity, share in enumerate(CORRUPTIONS["salt_and_pepper"][1], start=1):
        after = corrupt(flat, "salt_and_pepper", severity, "black")
        assert set(after.unique().tolist()) == {0, 100, 255}
        for value in (0, 255):
            assert (after == value).float().mean() == pytest.approx(share / 2, rel=0.05)


def test_motion_blur_draws_points_into_lines_of_many_directions():
    point = torch.zeros((8, 1, 33, 33), dtype=torch.uint8)
    point[:, :, 16, 16] = 255
    after = corrupt(point, "motion_blur", 5, "black").float()
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    directions = set()
    for image in after[:, 0]:
        weights = image / image.sum()
        moments = [(weights * a * b).sum() for a, b in ((rows, rows), (columns, columns), (rows, columns))]
        low, high = torch.linalg.eigvalsh(torch.tensor([[moments[0], moments[2]], [moments[2], moments[1]]]))
        assert low < 0.5
        assert high == pytest.approx((0.25 * 33) ** 2 / 12 * 20 / 18, rel=0.1)  # of 19 points on a line
        directions.add(round(torch.atan2(2 * moments[2], moments[0] - moments[1]).item(), 1))
    assert len(directions) == 8


def test_jpeg_is_pillows():
    quality = int(CORRUPTIONS["jpeg"][1][0])
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer)).transpose(2, 0, 1).astype(int)
    assert np.abs(corrupt(IMAGES, "jpeg", 1, "black")[0].numpy() - expected).mean() < 2


def test_translation_goes_four_ways_and_rotation_two():
    point = torch.zeros((8, 1, 25, 25), dtype=torch.uint8)
    point[:, :, 12, 12] = 255
    moved = corrupt(point, "translation", 2, "black")  # 2 of 25 pixels
    places = {tuple(int(i) for i in image[0].nonzero()[0]) for image in moved}
    assert places == {(12, 14), (12, 10), (14, 12), (10, 12)}
    line = torch.zeros((2, 1, 25, 25), dtype=torch.uint8)
    line[:, :, 12, :] = 255
    left, right = corrupt(line, "rotation", 5, "black")
    assert torch.equal(left, right.flip(1))
    assert not torch.equal(left, right)


def test_what_a_move_uncovers_is_black_or_mirrored():
    assert (corrupt(FLAT, "translation", 5, "mirror") == 100).all()
    assert corrupt(FLAT, "translation", 5, "black").min() == 0
