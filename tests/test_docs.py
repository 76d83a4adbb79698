"""Test the documents: examples run, generated pages are not stale, links resolve."""

import doctest
import re
from pathlib import Path

import pictures
import pytest
import results
import speed_page
import tables
from rich.console import Console

from cnnzoo.commands.report import summary_table
from cnnzoo.models import create_model

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_examples_of_the_lecture_page():
    text = (ROOT / "docs/lecture.md").read_text().replace("```", "")
    examples = doctest.DocTestParser().get_doctest(text, {}, "lecture.md", None, None)
    result = doctest.DocTestRunner().run(examples)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.parametrize("name", ["digits_cnn", "mnist_cnn", "cifar10_cnn"])
def test_the_lecture_pages_tables_are_those_of_summary(name: str):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(summary_table(create_model(name)))
    printed = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in capture.get().splitlines() if line[0] in "│┃"][1:]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in (ROOT / "docs/lecture.md").read_text().splitlines()
    ]
    starts = [i for i, row in enumerate(rows) if row == printed[0]]
    assert any(rows[start : start + len(printed)] == printed for start in starts), printed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document: Path):
    text = document.read_text()
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (document.parent / target).exists(), target


def test_no_generated_page_is_stale():
    """Compare the tables of README.md and docs/architecture.md, and docs/zoo.md, results.md and speed.md with their
    sources."""
    for path, text in tables.pages().items():
        assert path.read_text() == text, f"{path.name} is stale: run make tables"
    assert not any(picture.is_stale(tables.shipped()) for picture in pictures.PICTURES)


def test_the_speed_page_keeps_all_its_sections():
    (text,) = speed_page.pages().values()
    assert [line for line in text.splitlines() if line.startswith("## ")][-1] == "## Precision"


def test_a_result_names_its_recipe_however_it_was_given():
    for command in ("cnnzoo sweep -c mnist --seeds 0,1", "cnnzoo sweep --config=mnist --seeds=0,1"):
        assert results.options(command, ()) == ["--config mnist", "--seeds 0,1"]
