"""How many bytes a table takes for each entry, from a sample of its rows' columns."""

from __future__ import annotations

from sys import getsizeof
from typing import Any

from .._memory.table import TableSpec
from .._memory.weights import bytes_of_row
from .._relation import pk_fields
from .levels import PlannedTable, stand_in

SAMPLE = 64
# What the engine takes for an entry: 60 to 70 bytes, depending on how full its arrays are.
ENTRY = 66


def bytes_of_rows(table: PlannedTable) -> int:
    """Bytes of one entry. The sample is read as plain values: no instance is built."""
    spec, model = table.spec, table.model
    if not isinstance(spec, TableSpec):
        return ENTRY + getsizeof(2**40)
    instance = stand_in(model, table.alias)
    instance._state.fields_cache = {}
    queryset = spec.source.queryset(instance)
    names = [field.attname for field in model._meta.concrete_fields]
    # In the order of the key, since a database may give neighbours on disk whose texts are of another length.
    rows: Any = queryset.order_by(*(field.attname for field in pk_fields(model))).values_list(*names)[:SAMPLE]
    sizes = []
    for values in rows:
        instance.__dict__.update(zip(names, values))
        sizes.append(bytes_of_row(instance))
    return ENTRY + (sum(sizes) // len(sizes) if sizes else 0)
