"""Rows to a markdown table."""

__all__ = ["markdown"]


def markdown(title, rows):
    """A titled markdown table of dicts that all have the keys of the first; the columns line up."""
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return f"**{title}**\n\n" + "\n".join(text) + "\n"
