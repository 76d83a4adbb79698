"""Test the run folders."""

from pathlib import Path

import pytest

from cnnzoo.commands.runs import create_run


def test_each_run_gets_the_next_version(tmp_path: Path):
    assert create_run(tmp_path, "a") == tmp_path / "a/version_0"
    assert create_run(tmp_path, "a") == tmp_path / "a/version_1"
    assert create_run(tmp_path, "b") == tmp_path / "b/version_0"


@pytest.mark.timeout(20)
def test_a_link_into_nowhere_is_an_error(tmp_path: Path):
    (tmp_path / "runs").symlink_to(tmp_path / "unmounted")
    with pytest.raises(FileExistsError, match="runs"):
        create_run(tmp_path / "runs", "a")
