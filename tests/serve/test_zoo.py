"""Test which files of a zoo folder are served, which are refused, and why."""

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from helpers import copy_of_export, error, in_process, png, refused, write

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.model_file import read_card
from cnnzoo.contract.names import ContractError
from cnnzoo.serve.model import Model, Sessions
from cnnzoo.serve.session import Session
from cnnzoo.serve.zoo import Zoo

CARD = ModelCard("digits_cnn", 1, tuple("0123456789"), (1, 8, 8), "digits")


def network() -> onnx.ModelProto:
    """Return an untrained network without a card."""
    return copy_of_export("digits_cnn")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write(network(), CARD, tmp_path_factory.mktemp("good"))


def place(zoo: Path, name: str, version: str = "1") -> Path:
    path = zoo / name / version / "model.onnx"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def zoo(tmp_path: Path, good: Path) -> Path:
    """Return a folder with one good file."""
    shutil.copy(good, place(tmp_path, "digits_cnn"))
    return tmp_path


def refusal(folder: Path, path: str) -> str:
    """Return why the file at `path` is refused. Check that the good one is served."""
    zoo = Zoo(folder)
    assert [m.card.name for m in zoo.models] == ["digits_cnn"]
    return zoo.refused[path]


def test_an_empty_or_missing_folder_is_an_empty_zoo(tmp_path: Path):
    assert Zoo(tmp_path).models == []
    assert Zoo(tmp_path / "nothing").models == []


def test_a_file_that_is_no_onnx_is_refused(zoo: Path):
    place(zoo, "text").write_text("hello")
    assert "it is not an ONNX file" in refusal(zoo, "text/1/model.onnx")


def test_a_folder_whose_name_is_no_utf8_is_listed(zoo: Path, caplog: pytest.LogCaptureFixture):
    path = zoo / os.fsdecode(b"caf\xe9") / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with in_process(zoo) as client:
        found = client.get("/models")
    assert found.status_code == 200
    assert list(found.json()["refused"]) == ["caf\udce9/1/model.onnx"]
    assert caplog.text.encode()  # a log is a file, too


def test_a_truncated_file_is_refused(zoo: Path, good: Path):
    place(zoo, "half").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert "it is not an ONNX file" in refusal(zoo, "half/1/model.onnx")


def test_a_file_without_a_card_is_refused(zoo: Path):
    onnx.save(network(), place(zoo, "bare"))
    assert "no model card" in refusal(zoo, "bare/1/model.onnx")


def test_a_file_in_another_models_place_is_refused(zoo: Path, good: Path):
    shutil.copy(good, place(zoo, "digits_cnn", "7"))
    assert "its card says digits_cnn/1, but its path is digits_cnn/7" in refusal(zoo, "digits_cnn/7/model.onnx")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": ("a", "b")}, "expected float32"),
        ({"input_shape": (1, 9, 9)}, "its card says uint8"),
        ({"input_shape": (3, 8, 8)}, "its card says uint8"),
    ],
)
def test_a_card_that_the_graph_contradicts_is_refused(zoo: Path, change: dict, reason: str):
    card = ModelCard(**{**CARD.__dict__, "name": "liar", **change})
    write(network(), card, zoo)
    assert reason in refusal(zoo, "liar/1/model.onnx")


def test_a_graph_with_other_inputs_is_refused(zoo: Path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    write(model, ModelCard(**{**CARD.__dict__, "name": "relu"}), zoo)
    assert "its inputs are ['x']" in refusal(zoo, "relu/1/model.onnx")


def test_a_service_without_models_is_not_ready(zoo: Path):
    """Kubernetes sends it no requests, and does not end it."""
    with in_process(zoo, rescan=0.05) as client:
        assert client.get("/readyz").status_code == 200
        shutil.rmtree(zoo / "digits_cnn")
        for _ in range(200):
            if (answer := client.get("/readyz")).status_code == 503:
                break
            time.sleep(0.05)
        assert (answer.status_code, answer.json()["code"]) == (503, "empty_zoo")
        assert client.get("/livez").status_code == 200


def test_external_data_is_refused(zoo: Path):
    """A file must not make the service read another file."""
    proto = network()
    path = place(zoo, "external")
    entry = onnx.StringStringEntryProto(
        key="cnnzoo.card", value=ModelCard(**{**CARD.__dict__, "name": "external"}).to_json()
    )
    proto.metadata_props.append(entry)
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (path.parent / "weights.bin").is_file()
    for max_loaded in (1, 16):  # at the scan, also if it would be loaded later
        refused = Zoo(zoo, Sessions(max_loaded=max_loaded)).refused
        assert "keeps its weights in another file" in refused["external/1/model.onnx"]


def external() -> onnx.TensorProto:
    """Return a tensor whose values are in another file."""
    tensor = onnx.TensorProto(name="elsewhere", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def constant(graph: onnx.GraphProto) -> None:
    graph.node.append(onnx.helper.make_node("Constant", [], ["elsewhere"], value=external()))


def branch(graph: onnx.GraphProto) -> None:
    inner = onnx.helper.make_graph([], "inner", [], [], [external()])
    graph.node.append(onnx.helper.make_node("If", ["condition"], ["x"], then_branch=inner, else_branch=inner))


def sparse(graph: onnx.GraphProto) -> None:
    graph.sparse_initializer.append(onnx.SparseTensorProto(values=external(), dims=[3]))


def test_no_command_reads_the_other_file(zoo: Path, tmp_path: Path):
    """It could be any file of the user, and go out with the packed model."""
    (tmp_path / "weights.bin").write_bytes(b"user")
    proto = network()
    proto.graph.initializer.append(external())
    path = write(proto, ModelCard(**{**CARD.__dict__, "name": "external"}), zoo)
    (tmp_path / "image.png").write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    for words in (
        ("pack", str(path), "--as", "huggingface"),
        ("inspect", str(path), "image.png"),
        ("predict", str(path), "image.png"),
        ("fit", "--config", "digits", "--pretrained", str(path)),
    ):
        assert "keeps its weights in another file" in refused(*words, cwd=tmp_path)


@pytest.mark.parametrize("add", [constant, branch, sparse])
def test_external_data_is_found_wherever_it_is(zoo: Path, add: Callable[[onnx.GraphProto], None]):
    proto = network()
    add(proto.graph)
    write(proto, ModelCard(**{**CARD.__dict__, "name": "external"}), zoo)
    assert "keeps its weights in another file" in refusal(zoo, "external/1/model.onnx")


def unknown_type(graph: onnx.GraphProto) -> None:
    graph.output[0].type.tensor_type.elem_type = 99


def fixed_batch(graph: onnx.GraphProto) -> None:
    graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1


@pytest.mark.parametrize("change", [unknown_type, fixed_batch])
def test_outputs_are_checked(zoo: Path, change: Callable[[onnx.GraphProto], None]):
    proto = network()
    change(proto.graph)
    write(proto, ModelCard(**{**CARD.__dict__, "name": "odd"}), zoo)
    assert "expected float32 [batch, 10]" in refusal(zoo, "odd/1/model.onnx")
    with pytest.raises(ContractError):
        read_card(zoo / "odd/1/model.onnx")


def test_an_answer_has_a_row_for_each_image(zoo: Path):
    """The declared shape is dynamic; the graph leaves out the last image."""
    proto = network()
    (last,) = (node for node in proto.graph.node if "probabilities" in node.output)
    last.output[list(last.output).index("probabilities")] = "all"
    for name, value in (("start", 0), ("end", -1), ("axis", 0)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    proto.graph.node.append(onnx.helper.make_node("Slice", ["all", "start", "end", "axis"], ["probabilities"]))
    path = write(proto, ModelCard(**{**CARD.__dict__, "name": "short"}), zoo)
    with pytest.raises(ContractError, match=r"its outputs have \[3, 2\] rows for 3 images"):
        Session(path.read_bytes()).run(np.zeros((3, 1, 8, 8), np.uint8))
    with in_process(zoo) as client:
        content = png(np.zeros((8, 8), np.uint8))
        answer = client.post("/v1/models/short/predict", content=content, headers={"Content-Type": "image/png"})
    assert "short cannot be used: its outputs have [1, 0] rows for 1 images" in error(answer, 500)


def test_a_file_that_cannot_be_read_again_is_tried_later(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    write(network(), ModelCard(**{**CARD.__dict__, "name": "late"}), zoo)
    read, reads = Path.read_bytes, []

    def failing(path: Path) -> bytes:
        reads.append("late" in path.parts)
        if sum(reads) == 2 and reads[-1]:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    loaded = Zoo(zoo)
    assert loaded.refused == {"late/1/model.onnx": "it cannot be read (Input/output error)"}
    loaded.rescan()
    assert loaded.refused == {}
    assert loaded.get("late")


def test_a_removed_model_leaves_memory_at_once(zoo: Path):
    """Without Python's search for cycles, which the service makes rare."""
    sessions = Sessions()
    loaded = Zoo(zoo, sessions)
    model = loaded.get("digits_cnn")
    assert model
    asyncio.run(model.batcher(np.zeros((1, 1, 8, 8), np.uint8)))
    gone = weakref.ref(sessions.loaded[model])
    shutil.rmtree(model.path.parent)
    gc.disable()
    try:
        loaded.rescan()
        assert not loaded.models
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_a_file_that_could_not_be_read_is_tried_again(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    write(network(), ModelCard(**{**CARD.__dict__, "name": "late"}), zoo)
    read = Path.read_bytes

    def without_rights(path: Path) -> bytes:
        if "late" in path.parts:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", without_rights)
    loaded = Zoo(zoo)
    loaded.rescan()
    assert loaded.refused == {"late/1/model.onnx": "Permission denied"}
    assert caplog.text.count("Refused") == 1
    monkeypatch.undo()
    loaded.rescan()
    assert loaded.refused == {}
    assert loaded.get("late")


def test_a_model_that_is_removed_while_it_is_loaded_does_not_stay(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    write(network(), ModelCard(**{**CARD.__dict__, "name": "slow"}), zoo)
    sessions = Sessions(max_loaded=1)
    loaded = Zoo(zoo, sessions)
    model = next(model for model in loaded.models if model not in sessions.loaded)
    load = model.load

    def remove_meanwhile() -> Session:
        session = load()
        shutil.rmtree(model.path.parent)
        loaded.rescan()
        return session

    monkeypatch.setattr(model, "load", remove_meanwhile)
    assert model.run(np.zeros((1, 1, 8, 8), np.uint8))[0].shape == (1, 10)
    assert model not in sessions.loaded


def test_names_are_looked_up(zoo: Path):
    loaded = Zoo(zoo)
    assert loaded.get("digits_cnn") is loaded.get("digits_cnn", 1)
    assert loaded.get("digits_cnn", 2) is None
    assert loaded.get("../digits_cnn") is None
    assert loaded.versions("nothing") == []


def test_no_more_are_loaded_than_may_be(zoo: Path, good: Path):
    for n in range(4):
        write(network(), ModelCard(**{**CARD.__dict__, "name": f"digits_{n}"}), zoo)
    sessions = Sessions(max_loaded=2)
    loaded = Zoo(zoo, sessions)
    for model in loaded.models * 2:
        assert model.run(np.zeros((1, 1, 8, 8), np.uint8))[0].shape == (1, 10)
        assert len(sessions.loaded) == 2
        assert model in sessions.loaded


def test_what_is_good_again_is_no_longer_refused(zoo: Path, good: Path):
    loaded, whole = Zoo(zoo), good.read_bytes()
    mine = next(zoo.rglob("digits_cnn/1/model.onnx"))
    stat = mine.stat()
    (zoo / "SHA256SUMS").write_text("zzz\n")
    loaded.rescan()
    assert "nothing readable" in loaded.refused["digits_cnn/1/model.onnx"]
    (zoo / "SHA256SUMS").unlink()
    loaded.rescan()
    assert loaded.refused == {}
    mine.write_bytes(b"x")
    loaded.rescan()
    assert list(loaded.refused) == ["digits_cnn/1/model.onnx"]
    mine.write_bytes(whole)
    os.utime(mine, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    loaded.rescan()
    assert loaded.refused == {}
    assert loaded.get("digits_cnn")


def test_a_pipe_in_a_files_place_stops_nothing(zoo: Path, good: Path):
    os.mkfifo(place(zoo, "pipe"))
    loaded = Zoo(zoo)
    loaded.rescan()
    assert [model.card.name for model in loaded.models] == ["digits_cnn"]


def test_it_answers(zoo: Path):
    model = Zoo(zoo).get("digits_cnn")
    assert model is not None
    logits, probabilities = model.run(np.zeros((3, 1, 8, 8), np.uint8))
    assert logits.shape == probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


class CallOnRelease:
    """A lock that calls `action` each time after it was released."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.action = lambda: None

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()
        action, self.action = self.action, lambda: None
        action()


def test_a_request_in_flight_keeps_the_session_of_a_removed_file(zoo: Path):
    """The file is removed, and its session dropped, between two batches of the request."""
    sessions = Sessions()
    loaded = Zoo(zoo, sessions)
    model = loaded.get("digits_cnn")
    assert model is not None
    shutil.rmtree(zoo / "digits_cnn")
    outputs = []
    sessions._lock = lock = CallOnRelease()  # type: ignore[assignment]
    lock.action = lambda: outputs.append(model.run(np.zeros((1, 1, 8, 8), np.uint8)))
    loaded.rescan()
    assert loaded.models == []
    assert len(outputs) == 1
    assert model.run(np.zeros((2, 1, 8, 8), np.uint8))[0].shape == (2, 10)


def test_an_unexpected_error_refuses_one_file(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    """This holds in the first scan too. A later scan tries the file again after a change."""
    write(network(), ModelCard(**{**CARD.__dict__, "name": "odd"}), zoo)

    def no_memory(self: Model) -> Any:
        if self.card.name == "odd":
            raise MemoryError("for this one")
        return load(self)

    load = Model.load
    monkeypatch.setattr(Model, "load", no_memory)
    loaded = Zoo(zoo)
    assert [model.card.name for model in loaded.models] == ["digits_cnn"]
    assert loaded.refused == {"odd/1/model.onnx": "for this one"}
    monkeypatch.undo()
    (zoo / "odd/1/model.onnx").touch()
    loaded.rescan()
    assert loaded.get("odd")
    assert loaded.refused == {}


def test_a_file_that_is_too_large_is_not_read(zoo: Path):
    """It would keep the others waiting for seconds."""
    path = place(zoo, "large")
    path.touch()
    os.truncate(path, 2**34)  # more than the memory of a small machine; it takes no space
    start = time.monotonic()
    assert "it has 17,179,869,184 bytes: an ONNX file has at most" in refusal(zoo, "large/1/model.onnx")
    assert time.monotonic() - start < 5


def test_damage_is_found_in_files_that_are_not_loaded(zoo: Path):
    """A file beyond the number of sessions in memory is checked too: its bytes, its tensors, its SHA-256."""
    for name in ("a", "b", "c"):
        write(network(), ModelCard(**{**CARD.__dict__, "name": name, "summary": "Reads digits"}), zoo)
    (zoo / "b/1/model.onnx").write_bytes((zoo / "b/1/model.onnx").read_bytes()[:-50])
    (zoo / "c/1/model.onnx").write_bytes((zoo / "c/1/model.onnx").read_bytes().replace(b"Reads", b"Roads"))
    loaded = Zoo(zoo, Sessions(max_loaded=1))
    assert [model.card.name for model in loaded.models] == ["a", "digits_cnn"]
    assert "not an ONNX file" in loaded.refused["b/1/model.onnx"]
    assert "SHA256SUMS says" in loaded.refused["c/1/model.onnx"]


def test_onnxruntime_sends_nothing_home():
    code = "import cnnzoo.serve.session, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "1\n"
