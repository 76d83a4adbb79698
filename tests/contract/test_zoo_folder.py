"""Test the zoo folder's names, versions, atomic additions and checksums on real files."""

import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from cnnzoo.contract.files import atomic_write
from cnnzoo.contract.names import ContractError
from cnnzoo.contract.zoo_folder import SHIPPED, ModelId, ZooFolder, find_file, read_listed, split_spec


@pytest.fixture
def zoo(tmp_path: Path) -> ZooFolder:
    folder = ZooFolder(tmp_path / "zoo")
    for model_id in (ModelId("a", 1), ModelId("a", 2), ModelId("a", 10), ModelId("b", 3)):
        folder.add(model_id, str(model_id).encode())
    return folder


def test_a_path_and_back():
    model_id = ModelId("digits_cnn", 12)
    assert ModelId.from_path(Path("/somewhere/zoo") / model_id.path) == model_id
    assert str(model_id) == "digits_cnn@12"
    assert split_spec("digits_cnn@12") == model_id
    assert split_spec("digits_cnn") == ("digits_cnn", None)


@pytest.mark.parametrize(
    "path", ["", "model.onnx", "a/model.onnx", "a/0/model.onnx", "a/01/model.onnx", "a/x/model.onnx", "a/1/x.onnx",
             "A/1/model.onnx", "a/²/model.onnx", "a/-1/model.onnx", "a/1/1234567890/model.onnx"],
)  # fmt: skip
def test_a_path_outside_the_layout_is_refused(path: str):
    with pytest.raises(ContractError):
        ModelId.from_path(path)


@pytest.mark.parametrize("spec", ["", "@", "@1", "a@", "a@x", "a@0", "a@1@2", "../a", "a@1.5", "a@-1"])
def test_a_malformed_name_and_version_is_refused(spec: str):
    with pytest.raises(ContractError):
        split_spec(spec)


def test_versions_are_numbers_and_the_newest_comes_first(zoo: ZooFolder):
    assert zoo.ids() == [("a", 10), ("a", 2), ("a", 1), ("b", 3)]
    assert find_file("a", zoo.path).read_bytes() == b"a@10"
    assert find_file("a@2", zoo.path).read_bytes() == b"a@2"
    with pytest.raises(FileNotFoundError, match=r"there is no a@3 .*there are a@10, a@2, a@1, b@3"):
        find_file("a@3", zoo.path)


def test_the_next_version_counts_folders_that_hold_no_file(zoo: ZooFolder):
    assert (zoo.next_version("a"), zoo.next_version("c")) == (11, 1)
    (zoo.path / "c/7").mkdir(parents=True)
    assert zoo.next_version("c") == 8


def test_every_file_is_listed_also_those_with_an_invalid_name(zoo: ZooFolder):
    (zoo.path / "Bad/1").mkdir(parents=True)
    (zoo.path / "Bad/1/model.onnx").write_bytes(b"")
    assert len(zoo.files()) == 5
    assert len(zoo.ids()) == 4


def test_added_files_pass_sha256sum(zoo: ZooFolder):
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=zoo.path, capture_output=True)
    assert done.returncode == 0
    assert zoo.checksums()["b/3/model.onnx"] == hashlib.sha256(b"b@3").hexdigest()


def test_a_version_is_never_replaced(zoo: ZooFolder):
    with pytest.raises(FileExistsError, match="exists already"):
        zoo.add(ModelId("a", 1), b"other")
    assert find_file("a@1", zoo.path).read_bytes() == b"a@1"
    assert not list(zoo.path.glob(".*"))


def test_a_file_is_moved_into_place(zoo: ZooFolder, tmp_path: Path):
    source = tmp_path / "download"
    source.write_bytes(b"content")
    path = zoo.add(ModelId("c", 1), source)
    assert path.read_bytes() == b"content"
    assert not source.exists()
    assert os.stat(path.parent).st_mode & 0o777 == 0o755


def test_a_service_of_another_user_can_read_a_new_model(tmp_path: Path):
    zoo = ZooFolder(tmp_path / "zoo")
    before = os.umask(0o077)
    try:
        path = zoo.add(ModelId("c", 1), b"content")
    finally:
        os.umask(before)
    assert [os.stat(folder).st_mode & 0o777 for folder in list(path.parents)[:3]] == [0o755] * 3
    assert [os.stat(file).st_mode & 0o777 for file in (path, zoo.path / "SHA256SUMS")] == [0o644] * 2


def test_a_malformed_checksum_file_stops_an_addition(zoo: ZooFolder):
    (zoo.path / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(ContractError, match="line 1 of SHA256SUMS"):
        zoo.add(ModelId("c", 1), b"content")
    assert not (zoo.path / "c").exists()


def test_additions_at_the_same_time_lose_no_checksum(zoo: ZooFolder):
    threads = [threading.Thread(target=zoo.add, args=(ModelId("t", n), bytes([n]))) for n in range(1, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(zoo.checksums()) == 4 + 29


def test_missing_files_are_those_that_only_the_checksums_have(zoo: ZooFolder):
    assert zoo.missing() == []
    zoo.file(ModelId("b", 3)).unlink()
    assert zoo.missing() == ["b/3/model.onnx"]


def test_the_folder_is_that_of_the_environment_else_zoo_else_the_shipped_one(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNNZOO_ZOO", raising=False)
    assert ZooFolder.default().path == Path("zoo")
    assert ZooFolder.to_read().path == SHIPPED
    (tmp_path / "zoo").mkdir()
    assert ZooFolder.to_read().path == Path("zoo")
    monkeypatch.setenv("CNNZOO_ZOO", "nowhere")
    assert ZooFolder.default().path == ZooFolder.to_read().path == Path("nowhere")


def test_a_shipped_model_is_found_beside_ones_own(zoo: ZooFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After the first export zoo/ has that model alone."""
    monkeypatch.delenv("CNNZOO_ZOO", raising=False)
    monkeypatch.chdir(tmp_path)
    assert find_file("a") == Path("zoo") / ModelId("a", 10).path
    assert find_file("mnist_cnn").is_relative_to(SHIPPED)
    with pytest.raises(FileNotFoundError, match=r"there is no mnist_cnn in .*zoo \(there are a@10, a@2, a@1, b@3\)"):
        find_file("mnist_cnn", zoo.path)
    with pytest.raises(FileNotFoundError, match=r"there is no nobody in .* \(there are a@10, .*mnist_cnn@"):
        find_file("nobody")
    with pytest.raises(FileNotFoundError, match=r"there is no mnist_cn in .*; did you mean 'mnist_cnn'\? \(there are "):
        find_file("mnist_cn")
    with pytest.raises(FileNotFoundError, match=r"there is no mnist_cnn@99 in [^;]* \(there are "):
        find_file("mnist_cnn@99")
    monkeypatch.chdir(SHIPPED.parent)  # the clone, whose zoo/ is both
    with pytest.raises(FileNotFoundError, match="nobody") as caught:
        find_file("nobody")
    assert str(caught.value).count("mnist_tiny@") == 1


def test_an_interrupted_atomic_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "folder/file"
    with atomic_write(path) as temporary:
        temporary.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_is_checked_from_wherever_its_path_begins(zoo: ZooFolder, monkeypatch: pytest.MonkeyPatch):
    path = zoo.file(ModelId("b", 3))
    assert read_listed(path) == b"b@3"
    path.write_bytes(b"b@4")
    for folder, relative in (
        (zoo.path, "b/3/model.onnx"),
        (path.parent, "model.onnx"),
        (path.parents[1], "3/model.onnx"),
    ):
        monkeypatch.chdir(folder)
        with pytest.raises(ContractError, match="it is damaged or was changed"):
            read_listed(Path(relative))


def test_a_version_that_is_added_again_has_one_checksum(zoo: ZooFolder):
    model = ModelId("again", 1)
    zoo.add(model, b"before")
    shutil.rmtree(zoo.path / "again")
    zoo.add(ModelId("other", 1), b"other")
    zoo.add(model, b"after")
    text = (zoo.path / "SHA256SUMS").read_text()
    assert text.count("again/1/model.onnx") == 1
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=zoo.path, capture_output=True)
    assert done.returncode == 0, done.stdout
