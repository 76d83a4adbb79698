"""Run the lecture's notebook, and compare its numbers with those that it shows."""

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(notebook: Any) -> str:
    """Return all that the cells print."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


@pytest.mark.slow
def test_the_lectures_notebook_runs_and_shows_what_it_says():
    shown = nbformat.read(EXAMPLES / "lecture.ipynb", as_version=4)
    again = copy.deepcopy(shown)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(again, timeout=170, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    before, after = printed(shown), printed(again)
    assert "the downloaded file is the exported one: True" in after
    value, claimed = numbers(after.split("sum of the products + bias = ")[1])[:2]
    assert value == pytest.approx(claimed, abs=1e-3)
    for start, tolerance in (("best: ", 0.03), ("DigitsCNN, digits: ", 2.0), ("conv1 ", 0), ("dense1 ", 0)):
        expected, found = (numbers(text.split(start)[1].splitlines()[0]) for text in (before, after))
        assert found == pytest.approx(expected, abs=tolerance), start
    pictures = [
        sum("image/png" in output.get("data", {}) for cell in one.cells for output in cell.get("outputs", []))
        for one in (shown, again)
    ]
    assert pictures[0] == pictures[1] == 4


def test_the_notebook_names_no_machine():
    text = (EXAMPLES / "lecture.ipynb").read_text()
    assert not re.search(r"/(tmp|home|work|root|Users)/", text)
