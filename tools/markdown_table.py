"""A table in Markdown."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], text: int = 1) -> str:
    """Return a table whose first columns, so many as have `text`, are aligned to the left, the others to the right."""
    lines = [heads, ["---"] * text + ["---:"] * (len(heads) - text), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
