"""Test the count of the cores that a process may use."""

import os
from pathlib import Path

import pytest

from cnnzoo.contract import machine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000\n", 2),  # one and a half: two threads can use them
        ("10000 100000", 1),
        ("max 100000", 8),
        ("9000000 100000", 8),
        ("nonsense", 8),
    ],
)
def test_a_containers_limit_counts(text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    machine.QUOTA.write_text(text)
    assert machine.cores() == expected


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "missing")
    assert machine.cores() == 3
