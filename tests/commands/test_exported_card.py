"""Test the card of an exported file."""

from dataclasses import fields
from pathlib import Path

from cnnzoo.commands import provenance
from cnnzoo.contract.model_file import read_card


def test_an_export_fills_every_field_of_the_card(trained: Path):
    card = read_card(trained / "zoo/digits_cnn/1/model.onnx")
    optional = set() if provenance.commit() else {"commit"}  # a copy without git has none
    empty = {field.name for field in fields(card) if getattr(card, field.name) in ("", None, {}, [], ())}
    assert empty == optional
