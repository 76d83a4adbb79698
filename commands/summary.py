"""A network's layers as a table."""

from rich.table import Table

from ..models import ImageClassifier
from ..models.arithmetic import Volume
from ..models.summary import summarize


def summary_table(model: ImageClassifier) -> Table:
    """Volume, parameters and multiply-adds of every layer, for one image."""
    table = Table(title=type(model).__name__)
    table.add_column("layer")
    for column in ("volume W × H × D", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    depth, height, width = model.input_shape
    table.add_row("input", str(Volume(width, height, depth)), "", "")
    rows = summarize(model)
    for row in rows:
        table.add_row(row.kind, str(row.output), _number(row.parameters), _number(row.multiply_adds))
    table.add_section()
    table.add_row("total", "", _number(sum(r.parameters for r in rows)), _number(sum(r.multiply_adds for r in rows)))
    return table


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
