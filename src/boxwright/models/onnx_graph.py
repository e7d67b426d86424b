"""Writes ONNX nodes in Python, onto a graph that an exporter made.

Values are onnx_ir's; every node and value written here has a name that begins with ``detect/``, and the layers that the
networks' answers come from get one that begins with ``exact/``: by these names quantisation keeps out of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, DTypeLike
from onnx_ir.tape import Tape

from boxwright.runtime.backends.graph import EXACT

__all__ = ["PREFIX", "GraphWriter", "name_last_layers"]

PREFIX = "detect/"
"""Of the names of all that is written here."""

_LAYERS = ("Conv", "Gemm", "MatMul")


def name_last_layers(answers: Iterable[ir.Value]) -> None:
    """Give the layers that answers come from, and what lies between, names that begin with ``exact/``.

    Their outputs are box offsets and scores: rounded to 8 bits they would be ranked by chance.
    """
    for answer in answers:
        node = answer.producer()
        if node is None or (node.name or "").startswith(EXACT):
            continue
        node.name = f"{EXACT}{node.name}"
        for value in node.outputs:
            value.name = f"{EXACT}{value.name}"
        if node.op_type not in _LAYERS:
            name_last_layers(value for value in node.inputs if value is not None)


class GraphWriter:
    """Appends nodes to a graph.

    Args:
        graph: to write onto.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._tape = Tape(graph)
        self._count = 0

    def __call__(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """One node with one output, of the ONNX operator ``op``."""
        return self.several(op, 1, *inputs, **attributes)[0]

    def several(self, op: str, count: int, *inputs: ir.Value, **attributes: Any) -> tuple[ir.Value, ...]:
        """One node with ``count`` outputs."""
        name = self._name(op)
        outputs = self._tape.op_multi_out(op, inputs, attributes, num_outputs=count, name=name)
        for number, value in enumerate(outputs):
            value.name = f"{name}:{number}"
        return tuple(outputs)

    def constant(self, values: ArrayLike, dtype: DTypeLike = np.float32) -> ir.Value:
        """An initializer."""
        array = np.array(values, dtype)
        name = self._name("Constant")
        return self._tape.initializer(ir.tensor(array, name=name), name)

    def shape(self, *sizes: int) -> ir.Value:
        """Int64 [n], for Reshape and its like."""
        return self.constant(sizes, np.int64)

    def reshape(self, value: ir.Value, *sizes: int) -> ir.Value:
        """``value`` in another shape; one of ``sizes`` may be -1."""
        return self("Reshape", value, self.shape(*sizes))

    def slice(self, value: ir.Value, start: int, end: int, axis: int, step: int = 1) -> ir.Value:
        """Elements ``start`` to before ``end`` of one axis."""
        return self("Slice", value, *(self.shape(one) for one in (start, end, axis, step)))

    def gather_rows(self, table: ir.Value, rows: ir.Value) -> ir.Value:
        """Of each picture's table [N, n, …] the rows [N, k] int64: [N, k, …]."""
        return self("GatherND", table, self("Unsqueeze", rows, self.shape(-1)), batch_dims=1)

    def top(self, scores: ir.Value, count: int) -> tuple[ir.Value, ir.Value]:
        """The ``count`` greatest of each row of [N, n], greatest first: values and int64 columns, both [N, count]."""
        values, columns = self.several("TopK", 2, scores, self.shape(count), axis=-1, largest=1, sorted=1)
        return values, columns

    def where(self, condition: ir.Value, value: ir.Value, otherwise: float, dtype: DTypeLike = np.float32) -> ir.Value:
        """``value`` where the condition holds, else a number."""
        return self("Where", condition, value, self.constant(otherwise, dtype))

    def _name(self, op: str) -> str:
        self._count += 1
        return f"{PREFIX}{op}_{self._count}"
