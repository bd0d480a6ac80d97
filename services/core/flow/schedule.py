"""The order in which a flow's windows are computed: depth first, each array dropped after its last reader. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from services.core.flow.flow import Flow
from services.core.flow.operators import Operator, Read
from services.core.flow.tile import Bench, Tile
from services.core.grid import Window

Key = tuple[int, Window]  #: (position of the flow in Schedule.flows, window of its layer)


@runtime_checkable
class BatchOperator(Operator, Protocol):
    """An operator that is faster on several windows at once. Its groups are fixed by the schedule."""

    batch: int

    def compute_batch(self, outs: tuple[Window, ...], tiles: tuple[Tile, ...], bench: Bench) -> list[Tile]:
        """One tile per window of `outs`; `tiles` are the needs of the first, then of the second, and so on."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """Compute some windows of one flow, then forget what nobody else will read."""

    flow: int
    outs: tuple[Window, ...]
    needs: tuple[Key, ...]
    drops: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps for some wanted windows, and what they cost."""

    flows: tuple[Flow, ...]  #: inputs before outputs; the last is the one that was asked for
    steps: tuple[Step, ...]
    wanted: frozenset[Window]
    peak_bytes: int  #: most bytes of arrays alive at any step, operators' own temporaries included
    read_pixels: int  #: pixels read from the scene, over all bands


def build_schedule(flow: Flow, wanted: Sequence[Window]) -> Schedule:
    """Walk depth first from each wanted window, in the order given."""
    flows = tuple(_inputs_first(flow))
    number = {id(member): position for position, member in enumerate(flows)}
    root = len(flows) - 1
    groups = _batches(flows, number, [(root, window) for window in wanted])
    steps = _with_drops(_emit(flows, number, groups, [(root, window) for window in wanted]), keep=root)
    return Schedule(flows, steps, frozenset(wanted), _peak_bytes(flows, steps), _read_pixels(flows, steps))


def _inputs_first(flow: Flow) -> Iterator[Flow]:
    seen: set[int] = set()

    def visit(member: Flow) -> Iterator[Flow]:
        if id(member) not in seen:
            seen.add(id(member))
            for source in member.inputs:
                yield from visit(source)
            yield member

    return visit(flow)


def _needs(flows: tuple[Flow, ...], number: dict[int, int], key: Key) -> tuple[Key, ...]:
    flow = flows[key[0]]
    needs = flow.operator.needs(key[1], tuple(source.layer for source in flow.inputs))
    return tuple((number[id(flow.inputs[position])], window) for position, window in needs)


def _batches(flows: tuple[Flow, ...], number: dict[int, int], wanted: list[Key]) -> dict[Key, tuple[Key, ...]]:
    """Groups of windows of batch operators, in the order in which they are first asked for."""
    order: dict[int, list[Key]] = {}
    seen: set[Key] = set()

    def visit(key: Key) -> None:
        if key in seen:
            return
        seen.add(key)
        if isinstance(flows[key[0]].operator, BatchOperator):
            order.setdefault(key[0], []).append(key)
        for need in _needs(flows, number, key):
            visit(need)

    for key in wanted:
        visit(key)
    groups: dict[Key, tuple[Key, ...]] = {}
    for position, keys in order.items():
        operator = flows[position].operator
        size = operator.batch if isinstance(operator, BatchOperator) else 1
        for start in range(0, len(keys), size):
            group = tuple(keys[start : start + size])
            groups.update(dict.fromkeys(group, group))
    return groups


def _emit(
    flows: tuple[Flow, ...], number: dict[int, int], groups: dict[Key, tuple[Key, ...]], wanted: list[Key]
) -> list[Step]:
    steps: list[Step] = []
    done: set[Key] = set()

    def visit(key: Key) -> None:
        if key in done:
            return
        group = groups.get(key, (key,))
        done.update(group)
        needs = tuple(need for member in group for need in _needs(flows, number, member))
        for need in needs:
            visit(need)
        steps.append(Step(key[0], tuple(window for _, window in group), needs, ()))

    for key in wanted:
        visit(key)
    return steps


def _with_drops(steps: list[Step], *, keep: int) -> tuple[Step, ...]:
    """Note at each step which arrays it is the last to read; those of `keep` go to the caller as they are made."""
    seen: set[Key] = set()
    result = []
    for step in reversed(steps):
        drops = tuple(key for key in dict.fromkeys(step.needs) if key not in seen and key[0] != keep)
        seen.update(step.needs)
        result.append(Step(step.flow, step.outs, step.needs, drops))
    return tuple(reversed(result))


def _peak_bytes(flows: tuple[Flow, ...], steps: tuple[Step, ...]) -> int:
    live = peak = 0
    for step in steps:
        made = sum(flows[step.flow].layer.tile_bytes(window) for window in step.outs)
        read = sum(flows[flow].layer.tile_bytes(window) for flow, window in step.needs)
        # Temporaries: operators copy their input once (padding, normalising) and build their output once.
        peak = max(peak, live + 2 * made + read)
        live += made - sum(flows[flow].layer.tile_bytes(window) for flow, window in step.drops)
        if step.flow == len(flows) - 1:
            live -= made
    return peak


def _read_pixels(flows: tuple[Flow, ...], steps: tuple[Step, ...]) -> int:
    return sum(
        window.size * len(flows[step.flow].layer.bands)
        for step in steps
        if isinstance(flows[step.flow].operator, Read)
        for window in step.outs
    )
