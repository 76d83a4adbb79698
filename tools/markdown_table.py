"""A table in Markdown."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], text: int = 1) -> str:
    """Return a table.

    Args:
        text: number of columns that are aligned to the left; the others are numbers, to the right.
    """
    lines = [heads, ["---"] * text + ["---:"] * (len(heads) - text), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
