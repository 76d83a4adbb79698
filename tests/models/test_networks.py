"""Test the lecture's networks and their arguments."""

import pytest
import torch
import torch.nn.functional as F

from cnnzoo.models import CIFAR10CNN, MNISTCNN, DigitsCNN, create_model, list_models


@pytest.mark.parametrize(
    ("name", "parameters", "shape"),
    [
        ("digits_cnn", 8_660, (1, 8, 8)),
        ("mnist_cnn", 3_241_354, (1, 28, 28)),
        ("cifar10_cnn", 122_570, (3, 32, 32)),
    ],
)
def test_parameters_are_the_lectures(name: str, parameters: int, shape: tuple[int, int, int]):
    model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    logits = model(torch.zeros(2, *shape, dtype=torch.uint8))
    assert logits.shape == (2, 10)
    assert logits.dtype == torch.float32


def test_mnist_is_the_lectures_pytorch_network_in_every_number():
    """Compare with the lecture's forward pass, written out, for the same weights."""
    torch.manual_seed(0)
    model = MNISTCNN().eval()
    w = dict(model.network.state_dict())
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    x = (images / 255 - 0.1307) / 0.3081
    x = F.max_pool2d(F.relu(F.conv2d(x, w["0.weight"], w["0.bias"], padding=1)), 2, 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, w["3.weight"], w["3.bias"], padding=1)), 2, 2)
    x = x.reshape(-1, 64 * 7 * 7)
    x = F.relu(F.linear(x, w["7.weight"], w["7.bias"]))
    x = F.linear(x, w["10.weight"], w["10.bias"])
    torch.testing.assert_close(model(images), x)


def test_the_digits_reach_the_network_as_0_to_16():
    model = DigitsCNN()
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(
        torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 1, 8, 3).repeat(1, 1, 1, 3)[..., :8]
    )
    assert seen[0].min() == 0
    assert seen[0].max() == pytest.approx(16)


def test_float_and_uint8_images_give_the_same():
    model = CIFAR10CNN().eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model(images), model(images.float()))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("digits_cnn", {"channels": 4, "kernel_size": 5, "hidden": 7}),
        ("mnist_cnn", {"channels": [8, 16, 32], "hidden": 12, "dropout": 0.0}),
        ("cifar10_cnn", {"channels": [4], "kernel_size": 5, "hidden": 9, "num_classes": 3}),
        ("cifar10_cnn", {"input_shape": (1, 40, 28)}),
    ],
)
def test_every_dimension_is_an_argument(name: str, arguments: dict):
    model = create_model(name, **arguments)
    shape = arguments.get("input_shape", {"d": (1, 8, 8), "m": (1, 28, 28), "c": (3, 32, 32)}[name[0]])
    logits = model(torch.zeros(2, *shape, dtype=torch.uint8))
    assert logits.shape == (2, arguments.get("num_classes", 10))


def test_too_many_layers_for_the_image_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="does not fit into 1 pixels"):
        MNISTCNN(channels=[4] * 6, kernel_size=3)
    with pytest.raises(ValueError, match="does not fit"):
        CIFAR10CNN(channels=[4] * 6)


def test_unknown_names_are_answered_with_the_likely_one():
    with pytest.raises(ValueError, match="did you mean 'mnist_cnn'"):
        create_model("mnistcnn")
    assert {"digits_cnn", "mnist_cnn", "cifar10_cnn"} <= set(list_models())


def test_a_mean_for_the_wrong_number_of_channels_is_an_error():
    with pytest.raises(ValueError, match="mean has 2 values for 3 channels"):
        CIFAR10CNN(mean=[0.1, 0.2])
