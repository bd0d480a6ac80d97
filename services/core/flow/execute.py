"""Walk a schedule on one thread."""

from collections.abc import Iterator

from services.core.flow.flow import Flow
from services.core.flow.schedule import BatchOperator, Key, Schedule, Step, build_schedule
from services.core.flow.tile import Bench, Tile
from services.core.grid import Window


def walk(schedule: Schedule, bench: Bench) -> Iterator[Tile]:
    """Yield the wanted tiles in the order they were asked for; arrays die as soon as their last reader is done."""
    live: dict[Key, Tile] = {}
    root = len(schedule.flows) - 1
    for step in schedule.steps:
        made = _compute(schedule.flows[step.flow], step, live, bench)
        for key in step.drops:
            del live[key]
        if step.flow == root:
            yield from made
        else:
            live.update(((step.flow, tile.window), tile) for tile in made)
        del made
    assert not live, "a schedule left arrays behind"


def compute(flow: Flow, window: Window, bench: Bench) -> Tile:
    """One window of a flow, alone."""
    (tile,) = walk(build_schedule(flow, [window]), bench)
    return tile


def _compute(flow: Flow, step: Step, live: dict[Key, Tile], bench: Bench) -> list[Tile]:
    tiles = tuple(live[key] for key in step.needs)
    if isinstance(flow.operator, BatchOperator):
        return flow.operator.compute_batch(step.outs, tiles, bench)
    (out,) = step.outs
    return [flow.operator.compute(out, tiles, bench)]
