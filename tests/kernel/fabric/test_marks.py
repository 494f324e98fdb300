"""What is made is marked, found again by its mark, and removed without touching anything else."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.fabric.clean import clean, known_labs
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import End, NamespaceSpec, Plan, Veth
from testbed.naming import LAB_VARIABLE, run_directory

from .conftest import Exchange

pytestmark = pytest.mark.kernel

LAB = """
import subprocess, sys, time
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Bridge, End, NamespaceSpec, Plan, Veth
fabric = Fabric(sys.argv[1])
fabric.deploy(Plan.total([
    Plan(namespaces=(NamespaceSpec("s"),), bridges=(Bridge("s", "br0"),)),
    *(Plan(namespaces=(NamespaceSpec(f"n{i}"),),
           veths=(Veth(End(f"n{i}", "eth0"), End("s", f"p{i}", bridge="br0")),))
      for i in range(20)),
]))
here = fabric.namespace("n0")
quiet = {"stdout": subprocess.DEVNULL}
marked = subprocess.Popen(["sleep", "1000"], env=here.environment, **quiet)
inside = here.call(lambda: subprocess.Popen(["env", "-i", "sleep", "1000"], **quiet))
print(marked.pid, inside.pid, flush=True)
time.sleep(1000)
"""


def start_lab(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", LAB, name], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def living(lab_name: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A lab in a process of its own, with a marked process and one that is only inside."""
    process = start_lab(lab_name)
    assert process.stdout is not None
    yield process, [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    clean(lab_name)


def remains(lab: str) -> list[str]:
    """Everything that could be left of a lab, except processes."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if lab in line]
    links = [str(path) for path in Path("/run/netns").glob(f"{lab}-*")]
    directory = [str(run_directory(lab))] if run_directory(lab).exists() else []
    return mounts + links + directory


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ip_netns_knows_the_namespaces(fabric: Fabric) -> None:
    fabric.deploy(Plan(namespaces=(NamespaceSpec("a"),)))
    name = f"{fabric.lab}-a"
    ip = ["ip", "netns"]
    assert name in subprocess.check_output([*ip, "list"], text=True)
    command = [*ip, "exec", name, "readlink", "/proc/self/ns/net"]
    inode = fabric.namespace("a").inode
    assert subprocess.check_output(command, text=True).strip() == f"net:[{inode}]"
    with subprocess.Popen([*ip, "exec", name, "sleep", "100"]) as sleeper:
        while Path(f"/proc/{sleeper.pid}/ns/net").stat().st_ino != inode:
            time.sleep(0.01)
        assert subprocess.check_output([*ip, "pids", name], text=True) == f"{sleeper.pid}\n"
        sleeper.kill()


def test_closing_leaves_nothing(lab_name: str) -> None:
    with Fabric(lab_name) as fabric:
        fabric.deploy(Plan(namespaces=(NamespaceSpec("a"), NamespaceSpec("b"))))
        assert len(remains(lab_name)) == 6
        sleeper = subprocess.Popen(["sleep", "100"], env=fabric.namespace("a").environment)
    assert remains(lab_name) == []
    assert sleeper.wait() == -signal.SIGKILL


def test_after_kill_9_clean_finds_everything(
    lab_name: str, living: tuple[subprocess.Popen[str], list[int]]
) -> None:
    process, children = living
    process.kill()
    process.wait()
    assert lab_name in known_labs()
    assert all(is_running(pid) for pid in children)
    gone = clean(lab_name)
    assert [line for line in gone if line.startswith("process")] == [
        f"process {pid} (sleep)" for pid in sorted(children)
    ]
    assert sum(line.startswith("namespace") for line in gone) == 21
    assert not any(is_running(pid) for pid in children)
    assert remains(lab_name) == []
    assert clean(lab_name) == []


def test_kill_9_at_any_moment_leaves_what_clean_removes(lab_name: str) -> None:
    moments = random.Random(7)
    for _ in range(10):
        process = start_lab(lab_name)
        time.sleep(moments.uniform(0.05, 0.35))
        process.kill()
        process.wait()
        assert process.stdout is not None
        children = [int(word) for word in process.stdout.read().split()]
        process.stdout.close()
        clean(lab_name)
        assert remains(lab_name) == []
        assert not any(is_running(pid) for pid in children)


def test_a_living_lab_is_left_alone_unless_forced(
    lab_name: str, living: tuple[subprocess.Popen[str], list[int]]
) -> None:
    process, children = living
    assert clean(lab_name) == []
    assert process.poll() is None
    with pytest.raises(UsageError, match=f"lab '{lab_name}' is running already"):
        Fabric(lab_name)
    clean(lab_name, force=True)
    assert process.wait() == -signal.SIGKILL
    assert not any(is_running(pid) for pid in children)
    assert remains(lab_name) == []


def test_a_new_lab_takes_over_the_name_of_a_dead_one(
    lab_name: str, living: tuple[subprocess.Popen[str], list[int]]
) -> None:
    process, children = living
    process.kill()
    process.wait()
    with Fabric(lab_name) as fabric:
        fabric.deploy(Plan(namespaces=(NamespaceSpec("n0"),)))
        assert not any(is_running(pid) for pid in children)
    assert remains(lab_name) == []


def test_clean_spares_what_bears_another_mark(
    lab_name: str, living: tuple[subprocess.Popen[str], list[int]], tmp_path: Path
) -> None:
    process, children = living
    environments = [
        {LAB_VARIABLE: f"{lab_name}x"},
        {LAB_VARIABLE: lab_name, "TESTBED_RUN_DIR": str(tmp_path)},
    ]
    others = [subprocess.Popen(["sleep", "100"], env={**os.environ, **e}) for e in environments]
    # Named as if it were the lab's, but it leads elsewhere.
    foreign = Path(f"/run/netns/{lab_name}-foreign")
    foreign.symlink_to("/proc/self/ns/net")
    try:
        process.kill()
        process.wait()
        clean(lab_name)
        assert [other.poll() for other in others] == [None, None]
        assert foreign.is_symlink()
        assert not any(is_running(pid) for pid in children)
    finally:
        foreign.unlink()
        for other in others:
            other.kill()
            other.wait()


def test_clean_passes_over_what_can_t_be_a_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_RUN_DIR", str(tmp_path))
    (tmp_path / "Not_A_Lab").mkdir()
    (tmp_path / "dead").mkdir()
    (tmp_path / "file").touch()
    assert known_labs() == ["dead"]
    assert clean() == [f"directory {tmp_path / 'dead'}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Not_A_Lab", "file"]


def test_namespaces_don_t_live_on_in_copies_of_the_mount_namespace(lab_name: str) -> None:
    holders = []
    with Fabric(lab_name) as fabric:
        fabric.deploy(Plan(namespaces=(NamespaceSpec("a"),)))
        for propagation in ("private", "slave", "unchanged"):
            argv = ["unshare", "-m", "--propagation", propagation, "sh", "-c", "echo up; sleep 100"]
            holder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            holders.append(holder)
    for holder in holders:
        mounts = Path(f"/proc/{holder.pid}/mountinfo").read_text()
        holder.kill()
        holder.wait()
        assert lab_name not in re.sub(r"//deleted", "", mounts)


def test_two_labs_with_the_same_addresses_live_side_by_side(
    lab_name: str, exchange: Exchange
) -> None:
    plan = Plan(
        namespaces=(NamespaceSpec("a"), NamespaceSpec("b")),
        veths=(
            Veth(
                End("a", "eth0", addresses=("10.0.0.1/24",)),
                End("b", "eth0", addresses=("10.0.0.2/24",)),
            ),
        ),
    )
    with Fabric(f"{lab_name}-x") as one, Fabric(f"{lab_name}-y") as other:
        for fabric in (one, other):
            fabric.deploy(plan)
        for fabric in (one, other):
            exchange(fabric.namespace("a"), fabric.namespace("b"), "10.0.0.2")
        one.close()
        exchange(other.namespace("a"), other.namespace("b"), "10.0.0.2")
