"""Control groups, as the files of real machines show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cluster.cgroup import ControlGroup

GIBIBYTE = 1 << 30


def machine(root: Path, files: dict[str, str]) -> ControlGroup:
    for name, text in {"proc/meminfo": "MemTotal: 8388608 kB\nMemFree: 1 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ControlGroup(root)


V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
SERVICE = "sys/fs/cgroup/system.slice/app.service"


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    limits = machine(tmp_path, {}).limits()
    assert limits.quota is None
    assert limits.memory == 8 * GIBIBYTE
    assert limits.affinity >= 1


@pytest.mark.parametrize(
    ("own", "parent", "quota"),
    [
        ("max 100000", "max 100000", None),
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "50000 100000", 0.5),
        ("400000 100000", "200000 100000", 2.0),
    ],
)
def test_v2_the_smallest_quota_up_to_the_root_counts(
    tmp_path: Path, own: str, parent: str, quota: float | None
) -> None:
    group = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/app.service\n",
            "proc/self/mountinfo": V2,
            f"{SERVICE}/cpu.max": own + "\n",
            "sys/fs/cgroup/system.slice/cpu.max": parent + "\n",
        },
    )
    assert group.limits().quota == quota


def test_v2_memory_and_out_of_memory_kills(tmp_path: Path) -> None:
    group = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/app.service\n",
            "proc/self/mountinfo": V2,
            f"{SERVICE}/memory.max": f"{GIBIBYTE}\n",
            f"{SERVICE}/memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n",
            "proc/vmstat": "nr_free_pages 1\noom_kill 9\n",
        },
    )
    assert group.limits().memory == GIBIBYTE
    assert group.oom_kills() == 2


def test_v2_in_a_container_the_path_may_be_the_hosts(tmp_path: Path) -> None:
    group = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/4f5e\n",
            "proc/self/mountinfo": V2.replace(" / /sys", " /docker/4f5e /sys"),
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
        },
    )
    assert group.limits().quota == 2.0


V1 = (
    "35 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "36 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.mark.parametrize(("quota", "cpus"), [("-1", None), ("250000", 2.5)])
def test_v1_quota_memory_and_kills(tmp_path: Path, quota: str, cpus: float | None) -> None:
    group = machine(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/app\n4:cpu,cpuacct:/app\n1:name=systemd:/\n0::/\n",
            "proc/self/mountinfo": V1,
            "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us": quota + "\n",
            "sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/app/memory.limit_in_bytes": f"{2 * GIBIBYTE}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/app/memory.oom_control": "under_oom 0\noom_kill 4\n",
        },
    )
    assert group.limits().quota == cpus
    assert group.limits().memory == 2 * GIBIBYTE
    assert group.oom_kills() == 4


def test_out_of_memory_kills_of_the_machine_are_the_last_resort(tmp_path: Path) -> None:
    assert machine(tmp_path, {"proc/vmstat": "oom_kill 7\n"}).oom_kills() == 7


def test_this_machine_can_be_read() -> None:
    limits = ControlGroup().limits()
    assert limits.affinity >= 1
    assert limits.memory is not None
    assert limits.memory > 0
