"""
A run's spans as a waterfall in the terminal: the run, a few of its items, and what each stage did with them.

One line for an item, one for each of its stages with the wait drawn light and the work solid, and
below it the blocs and what child workers did. Needs rich, so a job does not load it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from cableway.store.port import SpanRow
from cableway.telemetry import record

ITEMS_SHOWN = 5
FEWEST_COLUMNS, MOST_COLUMNS = 60, 140

_WAIT, _WORK = "░", "█"
_STYLES = {"run": "bold", "item": "cyan", "stage": "green", "bloc": "blue", "child": "magenta"}
_FAILED = "red"


@dataclass(slots=True)
class _Line:
    """One line of the drawing. Times are Unix nanoseconds; the work begins where the wait ends."""

    depth: str
    label: str
    kind: str
    start_ns: int
    begun_ns: int
    end_ns: int
    error: str = ""
    worked: bool = True

    @property
    def wait_ns(self) -> int:
        return self.begun_ns - self.start_ns

    @property
    def work_ns(self) -> int:
        return self.end_ns - self.begun_ns


def waterfall(rows: Sequence[SpanRow], *, width: int = 100, items: int = ITEMS_SHOWN) -> Text:
    """Draw *rows*, the spans kept of one run, *width* columns wide, with at most *items* of its items.

    Failed items come first, then a gather, the slowest, and the first; they stand in the order in which
    they began. ``str`` of what is returned is the same without colour.
    """
    width = max(FEWEST_COLUMNS, min(width, MOST_COLUMNS))
    tree = _Tree(rows)
    if tree.run is None:
        return Text("No spans were kept of this run.\n")
    chosen = tree.chosen(items)
    lines = tree.lines(chosen)
    left = len(tree.items) - len(chosen)
    drawing = _draw(lines, tree.run, width)
    if left:
        drawing.append(f"{left} more item{'s' if left > 1 else ''} kept, not shown\n", style="dim")
    return drawing


class _Tree:
    def __init__(self, rows: Sequence[SpanRow]) -> None:
        self._below: dict[str, list[SpanRow]] = {}
        for row in sorted(rows, key=lambda row: row.start_ns):
            self._below.setdefault(row.parent_span_id or "", []).append(row)
        runs = [row for row in rows if _type(row) == "run"]
        self.run = max(runs, key=lambda row: row.start_ns) if runs else None
        below = self._below.get(self.run.span_id, []) if self.run is not None else []
        self.items = [row for row in below if _type(row) == "item"]

    def chosen(self, count: int) -> list[SpanRow]:
        """Failed items in at most half of the places, one where all came together, the slowest, and the first."""
        failed = [row for row in self.items if row.status == "error"][: (count + 1) // 2]
        gathers = [row for row in self.items if row.attributes.get(record.DERIVATION) == "gather"][:1]
        others = [row for row in self.items if row.status != "error"]
        slowest = sorted(others, key=lambda row: row.start_ns - row.end_ns)
        left = max(0, count - len(failed) - len(gathers))
        ranked = [*failed, *gathers, *slowest[: (left + 1) // 2], *others, *self.items]
        found = {row.span_id: row for row in ranked}
        return sorted(list(found.values())[:count], key=lambda row: row.start_ns)

    def lines(self, items: Iterable[SpanRow]) -> list[_Line]:
        """The run's line, and the items' with all that is below them."""
        if self.run is None:
            return []
        found = [_line(self.run, "", self.run.name)]
        for item in items:
            parents = item.attributes.get(record.ITEM_PARENTS_COUNT, 0)
            from_many = f" (from {parents} items)" if isinstance(parents, int) and parents > 1 else ""
            found.append(_line(item, "", f"item {item.attributes.get(record.ITEM_ID, '')}{from_many}"))
            stages = self._stages(item)
            for at, stage in enumerate(stages):
                last = at == len(stages) - 1
                found.append(self._stage_line(stage, "└ " if last else "├ "))
                found += self._within(stage[-1], "  " if last else "│ ")
        return found

    def _stages(self, item: SpanRow) -> list[list[SpanRow]]:
        """For each stage the item's wait and, where it came to that, its work."""
        by_stage: dict[str, list[SpanRow]] = {}
        for row in self._below.get(item.span_id, []):
            by_stage.setdefault(str(row.attributes.get(record.STAGE, row.name)), []).append(row)
        return list(by_stage.values())

    def _stage_line(self, spans: Sequence[SpanRow], depth: str) -> _Line:
        last = spans[-1]
        line = _line(last, depth, str(last.attributes.get(record.STAGE, last.name)))
        line.kind = "stage"
        line.start_ns = spans[0].start_ns
        if _type(last) == "wait":
            line.begun_ns = last.end_ns
            line.worked = False
        lane = last.attributes.get(record.LANE)
        if lane:
            line.label += f" · {lane}"
        return line

    def _within(self, parent: SpanRow, depth: str) -> list[_Line]:
        found: list[_Line] = []
        below = self._below.get(parent.span_id, [])
        for at, row in enumerate(below):
            last = at == len(below) - 1
            pid = row.attributes.get(record.PROCESS_PID)
            label = f"in process {pid}" if pid is not None else str(row.attributes.get(record.BLOC, row.name))
            found.append(_line(row, depth + ("└ " if last else "├ "), label))
            found += self._within(row, depth + ("  " if last else "│ "))
        return found


def _type(row: SpanRow) -> str:
    return str(row.attributes.get(record.SPAN_TYPE, ""))


def _line(row: SpanRow, depth: str, label: str) -> _Line:
    error = str(row.attributes.get(record.ERROR_TYPE, "error")) if row.status == "error" else ""
    return _Line(depth, label, _type(row), row.start_ns, row.start_ns, row.end_ns, error)


def _draw(lines: Sequence[_Line], run: SpanRow, width: int) -> Text:
    labels = min(max(cell_len(line.depth + line.label) for line in lines) + 1, width * 2 // 5)
    bars = width - labels - 2 * 8 - 2
    first = min(line.start_ns for line in lines)
    scale = _Scale(first, max(max(line.end_ns for line in lines) - first, 1), bars)
    drawing = Text(no_wrap=True)
    heading = f"{'':{labels}}{'wait':>8}{'time':>8}  {scale.axis()}".rstrip()
    drawing.append(f"{heading}\n", style="dim")
    for line in lines:
        style = _FAILED if line.error else _STYLES.get(line.kind, "")
        drawing.append(set_cell_size(printable(line.depth + line.label), labels), style=style)
        drawing.append(f"{seconds(line.wait_ns) if line.wait_ns else '':>8}", style="dim")
        drawing.append(f"{seconds(line.work_ns) if line.worked else '':>8}  ")
        scale.bar(drawing, line, style)
        drawing.append("\n")
    if run.attributes.get(record.STATE):
        drawing.append(f"trace {run.trace_id}\n", style="dim")
    return drawing


@dataclass(slots=True)
class _Scale:
    first_ns: int
    span_ns: int
    columns: int

    def axis(self) -> str:
        """The beginning, the middle and the end, as times since the beginning."""
        half, end = seconds(self.span_ns // 2), seconds(self.span_ns)
        middle = self.columns // 2
        return f"{'0':{middle}}{half}{end:>{max(self.columns - middle - len(half), len(end) + 1)}}"

    def bar(self, drawing: Text, line: _Line, style: str) -> None:
        """Add the line's bar; whatever took any time has at least one column."""
        start, begun, end = self._at(line.start_ns), self._at(line.begun_ns), self._at(line.end_ns)
        start = min(start, self.columns - 1)
        begun = min(max(begun, start), self.columns - 1)
        work = max(end - begun, 1) if line.work_ns or begun == start else 0
        room = self.columns
        drawing.append(" " * start)
        drawing.append(_WAIT * (begun - start), style="dim")
        drawing.append((_WORK if line.kind != "item" else "▬") * work, style=style)
        if line.error:
            note = f" {printable(line.error)}"
            left = room - begun - work
            if cell_len(note) <= left:
                drawing.append(note, style=style)

    def _at(self, at_ns: int) -> int:
        return round((at_ns - self.first_ns) * self.columns / self.span_ns)


def seconds(duration_ns: int) -> str:
    """A duration in three digits or so, with its unit: ``850 µs``, ``12 ms``, ``1.25 s``, ``3m05s``."""
    if duration_ns < 1_000_000:
        return f"{duration_ns / 1e3:.0f} µs"
    if duration_ns < 10_000_000:
        return f"{duration_ns / 1e6:.1f} ms"
    if duration_ns < 1_000_000_000:
        return f"{duration_ns / 1e6:.0f} ms"
    if duration_ns < 100_000_000_000:
        return f"{duration_ns / 1e9:.2f} s"
    minutes, rest = divmod(round(duration_ns / 1e9), 60)
    return f"{minutes}m{rest:02}s"


def printable(value: str) -> str:
    """*value* in one line without anything that a terminal would act on."""
    return "".join(character if character.isprintable() else "\ufffd" for character in value)
