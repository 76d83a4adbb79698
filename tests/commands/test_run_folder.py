"""Test the run folder that a training writes."""

import os
import time
from pathlib import Path

import torch

from cnnzoo.commands.run_folder import RunFolder


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path: Path):
    run = tmp_path / "runs/digits_cnn/version_0"
    (run / "checkpoints").mkdir(parents=True)
    last, left = run / "checkpoints/last.ckpt", run / "checkpoints/.best.ckpt.4711"
    torch.save({"global_step": 7}, last)
    left.write_bytes(b"half of it")
    RunFolder(tmp_path / "runs", "digits_cnn", run, last)
    assert left.exists()  # its process may live
    os.utime(left, (time.time() - 3600,) * 2)
    RunFolder(tmp_path / "runs", "digits_cnn", run, last)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
