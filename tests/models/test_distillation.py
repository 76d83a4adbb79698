"""Test learning from a trained network."""

from pathlib import Path

import pytest
import torch
from helpers import quiet

from cnnzoo.contract.zoo_folder import find_file
from cnnzoo.datamodules import DigitsDataModule
from cnnzoo.datamodules.cifar10 import CLASSES
from cnnzoo.models import MNISTCNN, DigitsCNN, SpeedNet
from cnnzoo.models.distillation import Teacher
from cnnzoo.models.export import OnnxFile
from cnnzoo.models.pretrained import restore

FILE = Path("zoo/digits_cnn/1/model.onnx")
DIGITS = tuple("0123456789")


def test_a_network_of_one_layer_learns_the_teachers_answers(trained: Path):
    """Without labels: all of them are wrong, and the student still agrees with its teacher."""
    data = DigitsDataModule()
    images = data.load(train=False)[0]
    teacher = restore(trained / FILE)
    data.setup("fit")
    data.splits["train"].labels[:] = 0
    torch.manual_seed(0)
    student = DigitsCNN(teacher=str(trained / FILE), learning_rate=0.01)
    quiet(max_epochs=8).fit(student, data)
    agrees = student.eval()(images).argmax(1) == teacher(images).argmax(1)
    assert agrees.float().mean() > 0.9
    assert not any("teacher" in name for name in student.state_dict())


def test_the_loss_is_the_divergence_of_softened_probabilities(trained: Path, digits):
    images = digits[0][:10]
    student = DigitsCNN()
    teacher = Teacher(str(trained / FILE), student, DIGITS)
    theirs = teacher.network(images) / teacher.network.temperature
    assert teacher.loss(images, theirs) == pytest.approx(0, abs=1e-6)
    ours = torch.randn(10, 10, generator=torch.Generator().manual_seed(0))
    p, q = (theirs / 2).double().softmax(1), (ours / 2).double().softmax(1)
    assert float(teacher.loss(images, ours)) == pytest.approx(float(4 * (p * (p / q).log()).sum() / 10), rel=1e-5)


def test_a_teacher_with_several_views_is_as_sure_as_its_answer():
    """All views of an image of one color are the same, so the mean over them is the answer from one."""
    colors = torch.randint(0, 256, (6, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = colors.expand(6, 3, 32, 32).contiguous()
    path = find_file("cifar10_speednet")
    teacher = Teacher(str(path), SpeedNet(widths=(8, 8, 8)), CLASSES)
    _, probabilities, *_ = OnnxFile(path.read_bytes()).answers(images)
    assert float(teacher.loss(images, probabilities.log())) == pytest.approx(0, abs=1e-5)


def test_a_teacher_of_other_images_is_refused(trained: Path):
    with pytest.raises(ValueError, match=r"has input_shape \(1, 8, 8\), this network \(1, 28, 28\)"):
        Teacher(str(trained / FILE), MNISTCNN(), DIGITS)
    with pytest.raises(ValueError, match="has num_classes 10, this network 3"):
        Teacher(str(trained / FILE), DigitsCNN(num_classes=3), DIGITS)
    with pytest.raises(ValueError, match=r"knows 0, 1, 2, 3 …, this network 9, 8, 7, 6 …: choose a teacher"):
        Teacher(str(trained / FILE), DigitsCNN(), DIGITS[::-1])
    with pytest.raises(FileNotFoundError, match="there is no nobody"):
        Teacher("nobody", DigitsCNN(), DIGITS)
