"""Test the completion of the command line with bash itself and argcomplete's own script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
BASH = shutil.which("bash") or ""
pytestmark = pytest.mark.skipif(not BASH or not (BIN / "cnnzoo").exists(), reason="needs bash and the cnnzoo command")


def completions(line: str, cwd: Path) -> set[str]:
    """Return what bash offers behind a line after the tab key."""
    words = line.split(" ")
    script = f"""
        eval "$(register-python-argcomplete cnnzoo)"
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
        _python_argcomplete cnnzoo
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [BASH, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    return {word.strip() for word in done.stdout.splitlines()}


def test_commands(tmp_path: Path):
    assert completions("cnnzoo pre", tmp_path) == {"predict", "preview"}


def test_models_of_the_zoo_folder(copied: Path):
    assert "digits_cnn" in completions("cnnzoo card di", copied)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["get", "predict", "inspect", "explain", "pack"])
def test_every_command_completes_the_name_of_its_model(command: str, copied: Path):
    assert "digits_cnn" in completions(f"cnnzoo {command} di", copied)


@pytest.mark.slow
def test_without_a_zoo_folder_the_shipped_models(tmp_path: Path):
    assert "mnist_speednet" in completions("cnnzoo card mnist_", tmp_path)


@pytest.mark.slow
def test_options_and_choices_of_a_light_command(tmp_path: Path):
    assert completions("cnnzoo list --m", tmp_path) == {"--max_size", "--min_accuracy"}
    assert completions("cnnzoo pack mnist_cnn --as ", tmp_path) == {"huggingface", "bentoml", "mlflow"}


@pytest.mark.slow
def test_recipes_and_files(tmp_path: Path):
    (tmp_path / "mnist_mine.yaml").write_text("")
    for words in ("fit --config", "fit -c", "predict --config"):
        found = completions(f"cnnzoo {words} mnist_", tmp_path)
        assert found >= {"mnist_lecture", "mnist_speednet", "mnist_mine.yaml"}, words


@pytest.mark.slow
def test_options_of_training(tmp_path: Path):
    assert completions("cnnzoo fit --trainer.max_e", tmp_path) == {"--trainer.max_epochs"}
    assert list(tmp_path.iterdir()) == []
