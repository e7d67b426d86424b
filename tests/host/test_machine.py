import os

import pytest

from boxwright.host.machine import cores, describe_machine, free_memory, has_bf16


@pytest.fixture
def system(tmp_path):
    """Folders in the shape of Linux's /proc and /sys/fs/cgroup, to be filled."""

    def make(membership, quotas, cpuinfo=""):
        for name, text in {"proc/self/cgroup": membership, "proc/cpuinfo": cpuinfo, **quotas}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc", tmp_path / "cgroup"

    return make


ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("membership", "quotas", "expected"),
    [
        ("0::/a/b\n", {}, ALLOWED),
        ("0::/a/b\n", {"cgroup/a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/a/b\n", {"cgroup/a/cpu.max": "50000 100000\n", "cgroup/a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/\n", {"cgroup/cpu.max": "150000 100000\n"}, min(2, ALLOWED)),
        ("0::/../x\n", {"cgroup/cpu.max": "100000 100000\n"}, 1),  # another container's name for it
        ("0::/\n", {"cgroup/cpu.max": "max 100000\n"}, ALLOWED),
        (
            "4:memory:/m\n1:cpu,cpuacct:/a\n",
            {"cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "90000", "cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("1:cpu:/\n", {"cgroup/cpu/cpu.cfs_quota_us": "-1", "cgroup/cpu/cpu.cfs_period_us": "100000"}, ALLOWED),
        ("nonsense", {"cgroup/cpu.max": "0 0\n"}, ALLOWED),
    ],
)
def test_cores_are_those_of_the_quota(system, membership, quotas, expected):
    assert cores(*system(membership, quotas)) == expected


def test_without_linux_there_is_an_answer(tmp_path):
    machine = describe_machine(proc=tmp_path / "none")
    assert machine.cores >= 1
    assert machine.processor
    assert machine.instruction_sets == ()


def test_instruction_sets_are_read_of_intel_and_arm(system):
    proc, _ = system("", {}, "model name\t: A B\nflags\t\t: fpu avx2 avx512f amx_int8\n\nmodel name: second\n")
    machine = describe_machine(proc=proc)
    assert (machine.processor, machine.instruction_sets) == ("A B", ("avx2", "avx512f", "amx_int8"))
    proc, _ = system("", {}, "Features\t: fp asimd asimddp i8mm bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n")
    machine = describe_machine(proc=proc)
    assert machine.processor == "ARM implementer 0x41 part 0xd40"
    assert machine.instruction_sets == ("asimd", "asimddp", "i8mm", "bf16")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("flags: avx512f avx512_bf16", True),
        ("flags: amx_bf16", True),
        ("Features: asimd bf16", True),
        ("flags: avx2", False),
    ],
)
def test_bf16_is_found_on_intel_and_arm(system, facts, expected):
    assert has_bf16(system("", {}, f"{facts}\n")[0]) is expected


def test_affinity_counts():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_nobody_is_named():
    import getpass
    import platform

    text = str(describe_machine().to_document())
    assert platform.node() not in text or len(platform.node()) < 4
    assert f"'{getpass.getuser()}'" not in text


def test_free_memory_is_the_least_of_the_machines_and_the_limits(tmp_path):
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert free_memory(proc, cgroup) == 5000 * 1024
    (proc / "self" / "cgroup").write_text("0::/box\n")
    (cgroup / "box").mkdir(parents=True)
    (cgroup / "box" / "memory.max").write_text("max\n")
    (cgroup / "box" / "memory.current").write_text("1000\n")
    assert free_memory(proc, cgroup) == 5000 * 1024
    (cgroup / "box" / "memory.max").write_text("4000000\n")
    assert free_memory(proc, cgroup) == 3_999_000
    (proc / "self" / "cgroup").write_text("4:memory:/box\n")
    (cgroup / "memory" / "box").mkdir(parents=True)
    (cgroup / "memory" / "box" / "memory.limit_in_bytes").write_text("2000\n")
    (cgroup / "memory" / "box" / "memory.usage_in_bytes").write_text("3000\n")
    assert free_memory(proc, cgroup) == 0
    assert free_memory(tmp_path / "nothing", tmp_path) is None
