"""A plan as text."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Plan, count

Line = Sequence[str]


def report(plan: Plan) -> str:
    """Tables of what would be fetched, by size, chunk size and row order, then what cannot be told."""
    part = "the first " if plan.is_part else ""
    if not (plan.tables or plan.rows):  # then no row was read
        text = [f"of {plan.what} nothing can be told"]
    else:
        text = [
            f"{part}{count(plan.rows, 'row')} of {plan.what}, in {count(plan.chunks, 'chunk')} of {plan.chunk_size:,}"
        ]
    if plan.tables:
        queries = "1 query" if plan.queries == 1 else f"{plan.queries:,} queries"
        text.append(f"{queries} for related rows")
        lines: list[Line] = [("", "asked", "distinct", "kept", "fetched", "optimum", "enough")]
        for name, table in plan.tables.items():
            kept = "all" if table.kept is None else f"{table.kept:,}"
            optimum = table.optimal_with(table.kept)
            numbers = (table.asked, table.distinct, kept, table.fetched, optimum, table.enough)
            lines.append((name, *(one if isinstance(one, str) else f"{one:,}" for one in numbers)))
        text += ["", *aligned(lines)]
        if depending := [table for table in plan.tables.values() if table.depends]:
            names = ", ".join(table.name for table in depending)
            text.append(f"{names}: for the sizes kept above it, since only rows fetched there ask for it")
        changed = plan.by_chunk_size()
        lines = [("fetched in chunks of", *(f"{size:,}" for size in changed))]
        lines += [(name, *(f"{fetched[name]:,}" for fetched in changed.values())) for name in plan.tables]
        text += ["", *aligned(lines)]
        if orders := plan.by_order():
            lines = [("fetched if ordered by", *orders, "as it is")]
            for name, table in plan.tables.items():
                lines.append((name, *(f"{fetched[name]:,}" for fetched in orders.values()), f"{table.fetched:,}"))
            text += ["", *aligned(lines)]
    if plan.untold:
        text += ["", *(f"{path}: not told, {reason}" for path, reason in plan.untold.items())]
    return "\n".join(text)


def aligned(lines: Sequence[Line]) -> list[str]:
    """Columns: the first one to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        " ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]).rstrip()
        for line in lines
    ]
