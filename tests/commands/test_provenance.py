"""Test what a card says about the code that made it."""

import subprocess
from pathlib import Path

import pytest

from cnnzoo.commands import provenance
from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.facts import facts


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


def test_an_export_from_changed_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(code))
    code.write_text("as committed")
    sums = tmp_path / "zoo/SHA256SUMS"
    sums.parent.mkdir()
    sums.write_text("of one file")
    assert provenance.commit() is None
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = provenance.commit()
    assert clean
    assert len(clean) == 40
    sums.write_text("of two files, since a model was exported")
    assert provenance.commit() == clean
    code.write_text("changed")
    assert provenance.commit() == f"{clean}-dirty"
    card = ModelCard("a", 1, ("b", "c"), (1, 2, 2), training={"commit": f"{clean}-dirty"})
    assert f"commit {clean[:12]}-dirty" in facts(card, 1)["Trained"]


@pytest.mark.parametrize(
    ("wanted", "flags", "used"),
    [
        ("bf16-mixed", "fpu avx512f", "32-true"),
        ("bf16-mixed", "fpu avx512_bf16", "bf16-mixed"),
        ("16-mixed", "fpu", "16-mixed"),
        (None, "fpu", None),
    ],
)
def test_bfloat16_is_used_where_the_processor_has_it(
    wanted: str | None, flags: str, used: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provenance, "cpuinfo", lambda key: flags if key == "flags" else "")
    assert provenance.usable_precision(wanted, "cpu") == used
