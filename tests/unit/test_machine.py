"""A container's share of its machine, read from control groups made up here."""

import os

import pytest

from services.core import machine


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write limits of groups: {folder: {file: text}}; this process is in `pod/box`."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "self")
    (tmp_path / "self").write_text("0::/pod/box\n")
    (tmp_path / "pod" / "box").mkdir(parents=True)

    def write(folder, name, text):
        (tmp_path / folder / name).write_text(f"{text}\n")

    return write


@pytest.fixture
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


@pytest.mark.usefixtures("sixteen_cores")
@pytest.mark.parametrize(
    ("said", "cores"), [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("25000 100000", 1)]
)
def test_cores_are_those_a_container_has_time_for(groups, said, cores):
    groups("pod/box", "cpu.max", said)
    assert machine.usable_cores() == cores


@pytest.mark.usefixtures("sixteen_cores")
def test_the_tightest_limit_around_a_container_counts(groups):
    groups("pod/box", "cpu.max", "max 100000")
    groups("pod", "cpu.max", "300000 100000")
    groups("pod/box", "memory.max", "max")
    groups("pod", "memory.max", 2**30)
    groups(".", "memory.max", 2**31)
    assert (machine.usable_cores(), machine.memory_limit_bytes()) == (3, 2**30)


@pytest.mark.usefixtures("sixteen_cores")
def test_without_control_groups_the_machine_is_the_limit(groups, tmp_path):
    (tmp_path / "self").unlink()
    assert (machine.usable_cores(), machine.memory_limit_bytes()) == (16, None)
