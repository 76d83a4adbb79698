"""Test SpeedNet and its optimizer against what the paper says of each part."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import quiet, write
from lightning import Trainer
from torch import nn

from cnnzoo.contract.card import ModelCard
from cnnzoo.datamodules import Augmentation, DigitsDataModule
from cnnzoo.models import SpeedNet, create_model
from cnnzoo.models.export import OnnxFile, check_parity, to_onnx, torch_answers
from cnnzoo.models.muon import Muon, orthogonalized
from cnnzoo.models.summary import multiply_adds, summarize

TINY: dict[str, Any] = {"input_shape": (3, 16, 16), "widths": [16, 24], "num_classes": 4}


def images(n: int, seed: int = 0) -> torch.Tensor:
    """Return smooth random images: neighboring pixels are alike, as in photographs."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(coarse, size=(16, 16), mode="bicubic").clamp(0, 255).round().to(torch.uint8)


@pytest.fixture
def model() -> SpeedNet:
    torch.manual_seed(0)
    model = SpeedNet(**TINY)
    model.whiten(images(400))
    return model


def test_parameters_are_the_papers():
    # Its 64-256-256 network: 1.97 million. The rest is counted from the widths by hand.
    whitening, kernels = 24 * 12 + 24, 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    norms, head = 2 * 2 * (64 + 256 + 256), 256 * 10
    network = create_model("cifar10_speednet")
    assert sum(p.numel() for p in network.parameters()) == whitening + kernels + norms + head == 1_972_792
    assert create_model("mnist_speednet")(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)


def test_the_first_layer_whitens_patches(model: SpeedNet):
    out = model.network[0](images(400).float() / 255)[:, :12].detach()
    covariance = torch.cov(out.transpose(0, 1).flatten(1))
    # The constant in the denominator shrinks directions that hardly vary.
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-3
    assert covariance.diagonal().max() == pytest.approx(1, abs=0.01)
    weight = model.network.get_parameter("0.weight")
    assert torch.equal(weight[:12], -weight[12:])


def test_the_other_convolutions_start_as_the_identity(model: SpeedNet):
    for layer in model.network[1:]:
        if isinstance(layer, nn.Conv2d):
            x = torch.randn(2, layer.in_channels, 5, 5)
            same = min(layer.in_channels, layer.out_channels)
            torch.testing.assert_close(layer(x)[:, :same], x[:, :same])


def test_a_test_images_probabilities_are_the_mean_over_its_views(model: SpeedNet):
    model.eval()
    x = images(6, seed=1)
    one = model(x)
    model.views = "flip"
    mean = ((2 * one).softmax(1) + (2 * _one_view(model, x.flip(3))).softmax(1)) / 2
    torch.testing.assert_close(model(x), mean.log())
    model.views = "flip_shift"
    padded = F.pad(x.float(), (1, 1, 1, 1), mode="reflect")
    moved = [x.float(), padded[..., :16, :16], padded[..., 2:, 2:]]
    views = [_one_view(model, view) for shifted in moved for view in (shifted, shifted.flip(3))]
    torch.testing.assert_close(model(x).softmax(1), (2 * torch.stack(views)).softmax(2).mean(0))


def _one_view(model: SpeedNet, x: torch.Tensor) -> torch.Tensor:
    views, model.views = model.views, "one"
    logits = model(x)
    model.views = views
    return logits


def test_only_validation_within_training_sees_one_view():
    model = SpeedNet(input_shape=(1, 8, 8), widths=[16], views="flip_shift")
    sizes: list[int] = []
    model.network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    data = DigitsDataModule(batch_size=200)
    trainer = Trainer(
        accelerator="cpu", max_steps=1, limit_val_batches=1, val_check_interval=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, data)
    assert sizes == [200, 144]
    trainer.validate(model, data, verbose=False)
    assert sizes == [200, 144, 144, 5 * 144]


def test_multiply_adds_count_the_views_of_an_image():
    one, six = SpeedNet(**TINY), SpeedNet(**TINY, views="flip_shift")
    assert multiply_adds(one) == sum(row.multiply_adds for row in summarize(one))
    assert multiply_adds(six) == 6 * multiply_adds(one)
    six.fit_views(torch.randn((400, 10), generator=torch.Generator().manual_seed(0)))
    assert multiply_adds(six) == round((1 + 5 / 4) * multiply_adds(one))


@pytest.mark.slow
def test_a_quarter_of_the_images_is_looked_at_in_all_views(model: SpeedNet):
    """The least sure ones. Each image's answer is the one that it gets alone."""
    model.eval()
    x = images(40, seed=3)
    one, model.views = _one_view(model, x), "flip_shift"
    everywhere = model(x)
    model.fit_views(one)
    answers = model(x)
    least = (2 * one).softmax(1).amax(1).argsort()
    torch.testing.assert_close(answers[least[:10]], everywhere[least[:10]])
    torch.testing.assert_close(answers[least[10:]], (2 * one).log_softmax(1)[least[10:]])
    torch.testing.assert_close(torch.cat([model(image[None]) for image in x]), answers, atol=1e-5, rtol=1e-4)
    sure = x[least[10:]]
    model.sure.fill_(-9)
    torch.testing.assert_close(model(sure), (2 * one).log_softmax(1)[least[10:]])
    file = OnnxFile(to_onnx(model))
    torch.testing.assert_close(file.answers(sure)[0], model(sure), atol=1e-5, rtol=1e-4)


def test_with_three_convolutions_the_last_two_are_added_to_what_they_are_given():
    torch.manual_seed(0)
    two, three = SpeedNet(**TINY).eval(), SpeedNet(**TINY, convolutions=3).eval()
    third = sum(9 * width**2 + 2 * width for width in TINY["widths"])
    assert sum(row.parameters for row in summarize(three)) == sum(row.parameters for row in summarize(two)) + third
    block, x = three.network[6], torch.randn(2, 16, 5, 5)
    conv, norm, gelu, conv2, norm2 = block
    torch.testing.assert_close(block(x), x + norm2(conv2(gelu(norm(conv(x))))))


@pytest.mark.slow
@pytest.mark.parametrize(("views", "convolutions"), [("one", 2), ("flip_shift", 3)])
def test_the_exported_file_answers_as_torch_and_gives_the_weights_back(views: str, convolutions: int, tmp_path):
    torch.manual_seed(0)
    tiny = {**TINY, "views": views, "convolutions": convolutions}
    model = SpeedNet(**tiny)
    model.whiten(images(400))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.get_buffer("running_mean").uniform_(-1, 1)
                layer.get_buffer("running_var").uniform_(0.5, 2)
    proto, x = to_onnx(model), images(20, seed=2)
    expected = torch_answers(model, x)[0]
    assert check_parity(OnnxFile(proto).answers(x), torch_answers(model, x)) < 1e-5
    recipe = {"model": {"class_path": "SpeedNet", "init_args": tiny}}
    card = ModelCard("cifar10_speednet", 1, tuple("abcd"), (3, 16, 16), config=recipe)
    again = create_model("cifar10_speednet", pretrained=write(proto, card, tmp_path))
    assert torch.equal(torch_answers(again, x)[0], expected)
    with pytest.raises(ValueError, match="holds cifar10_speednet, not mnist_speednet"):
        create_model("mnist_speednet", pretrained=tmp_path / "cifar10_speednet/1/model.onnx")


def test_of_large_images_fewer_are_whitened(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr("cnnzoo.models.speednet.WHITENED", 100 * 8 * 8)
    monkeypatch.setattr(SpeedNet, "whiten", lambda self, images: seen.append(len(images)))
    data = DigitsDataModule()
    data.setup("fit")
    quiet(max_steps=0).fit(SpeedNet(input_shape=(1, 8, 8), widths=[16], whitening_kernel=3), data)
    assert 100 <= seen[0] < 120


def test_training_leaves_the_whitening_and_the_norms_scales_alone():
    torch.manual_seed(0)
    size: dict = {"input_shape": (1, 8, 8), "widths": [32], "whitening_kernel": 3}  # rounding upsets a narrower one
    model = SpeedNet(**size, views="flip_shift", learning_rate=0.1)  # and this one by the recipe's 0.24
    data = DigitsDataModule(batch_size=200, val_fraction=0.3)  # 432 held-out images: rounding moves a few answers
    data.setup("fit")
    trainer = Trainer(
        accelerator="cpu", max_epochs=16, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, precision="bf16-mixed",
    )  # fmt: skip
    trainer.fit(model, data)
    fresh = SpeedNet(**size)
    train = data.splits["train"]
    fresh.whiten(train[:][0])
    assert torch.equal(model.network[0].weight, fresh.network[0].weight)
    assert all((layer.weight == 1).all() for layer in model.network if isinstance(layer, nn.BatchNorm2d))
    assert model.network[0].bias.any()
    assert float(trainer.callback_metrics["val_accuracy"]) > 0.9


def test_fitting_without_training_images_says_what_is_missing():
    loader = torch.utils.data.DataLoader([(images(1)[0], 0)])
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    with pytest.raises(ValueError, match="fit it with an ImageDataModule"):
        trainer.fit(SpeedNet(**TINY), loader, loader)


def test_too_many_groups_for_the_image():
    with pytest.raises(ValueError, match="does not fit"):
        SpeedNet(input_shape=(1, 8, 8))


@pytest.mark.parametrize("shape", [(8, 30), (30, 8)])
def test_the_step_keeps_the_singular_vectors_and_evens_out_the_values(shape: tuple[int, int]):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonalized(matrix, iterations=5) @ vt.T
    assert (turned - torch.diag(turned.diagonal())).abs().max() < 1e-9
    assert 0.65 < turned.diagonal().min() < turned.diagonal().max() < 1.3


def test_beside_filters_it_is_nesterov_sgd():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        Muon([{"params": list(ours.parameters()), "lr": 0.1, "momentum": 0.8}]),
        torch.optim.SGD(theirs.parameters(), 0.1, 0.8, nesterov=True),
    ]
    for _ in range(5):
        x = torch.randn(16, 5)
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_filters_keep_their_norm():
    conv = nn.Conv2d(4, 9, 3, bias=False)
    optimizer = Muon([{"params": [conv.weight], "lr": 0.1, "momentum": 0.6, "orthogonal": True}])
    for _ in range(3):
        optimizer.zero_grad()
        conv(torch.randn(2, 4, 6, 6)).square().mean().backward()
        before = conv.weight.detach().clone()
        optimizer.step()
        step = conv.weight.detach() - before * 3 / before.norm()  # √9 filters
        assert 0.5 < step.norm() / (0.1 * 3) < 1.3  # about orthonormal rows, times the learning rate


def test_alternate_flips_mirror_each_image_in_every_second_epoch():
    x = images(64)
    even, odd = (Augmentation(flip="alternate")(x, (0, epoch, 0), 0, 1) for epoch in (0, 1))
    mirrored = (even != x).flatten(1).any(1)
    assert 16 < mirrored.sum() < 48
    assert torch.equal(odd, even.flip(3))
    assert torch.equal(Augmentation(flip="alternate")(x, (7, 2, 9), 0, 1), even)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"widths": []}, r"widths is \[\]: give the channels of each group"),
        ({"widths": [16, 0]}, r"widths is \[16, 0\]: give the channels of each group"),
        ({"bias_learning_rate": 0}, "divide weight_decay: give rates above 0"),
    ],
)
def test_senseless_arguments_are_errors(arguments: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        SpeedNet(**arguments)
