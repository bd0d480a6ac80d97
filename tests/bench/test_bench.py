"""The bench's own arithmetic and files; what it measures is not for a test to judge."""

import numpy as np
import rasterio

from tests.bench.api import p99_line
from tests.bench.process import best, interleaved, peak_bytes
from tests.bench.report import write_report
from tests.bench.rows import Finding, Line, missed
from tests.bench.scenes import Look, write_scene


def test_measures_take_turns_and_the_fastest_counts():
    order = []

    def measure(name, rate):
        order.append(name)
        return {"tiles_per_s": rate + len(order)}

    found = interleaved(2, a=lambda: measure("a", 10), b=lambda: measure("b", 20))
    assert order == ["a", "b", "a", "b"]
    assert best(found["a"]) == 13
    assert best(found["b"]) == 24


def test_a_bench_scene_is_tiled_and_no_two_neighbouring_blocks_are_alike(tmp_path):
    path = write_scene(tmp_path / "s.tif", Look(height=700, width=1100, dtype="uint8"))
    with rasterio.open(path) as source:
        assert (source.shape, source.count, source.block_shapes[0]) == ((700, 1100), 3, (512, 512))
        assert source.descriptions == ("red", "green", "blue")
        pixels = source.read()
    assert not np.array_equal(pixels[:, :512, :512], pixels[:, :512, 512:1024])
    assert pixels.std() > 10


def test_peak_memory_is_this_processes_own():
    before = peak_bytes()
    block = np.ones(2**25, np.float64)  # 256 MiB, more than a test process holds at this point
    assert peak_bytes() >= before
    assert peak_bytes() > block.nbytes


def test_the_minute_decides_about_p99_and_no_quieter_round():
    quiet, minute = {"p99_ms": 70.0, "p50_ms": 40.0}, {"p99_ms": 83.0, "p50_ms": 46.0, "seconds": 60.0}
    line = p99_line([quiet, quiet], minute)
    assert (line.met, line.measured, line.peer) == (False, "83 ms (median 46 ms)", "of the rounds before: 70, 70 ms")


def test_the_report_says_what_was_missed_and_what_was_not_measured(tmp_path):
    slow = Line(what="speed", must="≥ 2", measured="1.5", peer="a | b", met=False)
    findings = {"network": Finding(lines=(slow, missed("other", "≥ 10", "no peer")), remarks=("A remark.",))}
    write_report(tmp_path / "b.md", findings, ["A machine."])
    text = (tmp_path / "b.md").read_text()
    assert "| speed | ≥ 2 | 1.5 | a / b | no | `python -m tests.bench --only network` |" in text
    assert "not measured: no peer" in text
    assert "- A machine." in text
    assert "- A remark." in text
