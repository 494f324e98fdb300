"""How long `testbed up` of three_nodes with 3 Pods takes: the work after imports, and as a command.

    sudo .venv/bin/python benchmarks/up.py

Exit code 1 where a limit isn't kept.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORK_LIMIT = 0.4
COMMAND_LIMIT = 1.2
RUNS = 7
PODS = "\n---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: web-{index}}}, "
    "spec: {containers: [{name: c, image: any, ports: [{containerPort: 8080}]}]}}"
    for index in range(3)
)


def work() -> float:
    """Seconds from imports done to three Pods ready, in this process."""
    from testbed.cluster import Cluster

    begin = time.perf_counter()
    with Cluster("three_nodes", name=f"up-{os.getpid()}", api=True) as lab:
        lab.apply(PODS)
        return time.perf_counter() - begin


def command(manifest: Path) -> float:
    """Seconds of the whole command `testbed up -f MANIFEST`."""
    verb = [sys.executable, "-m", "testbed.cli.main"]
    name = f"cmd-{os.getpid()}"
    begin = time.perf_counter()
    subprocess.run(
        [*verb, "up", "--lab", name, "-f", str(manifest)], check=True, stdout=subprocess.DEVNULL
    )
    took = time.perf_counter() - begin
    subprocess.run([*verb, "down", "--lab", name], check=True, stdout=subprocess.DEVNULL)
    return took


def main() -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(PODS)
        file.flush()
        inside = [work() for _ in range(RUNS + 1)][1:]
        whole = [command(Path(file.name)) for _ in range(RUNS)]
    failed = False
    rows = (("work after imports", inside, WORK_LIMIT), ("whole command", whole, COMMAND_LIMIT))
    for what, times, limit in rows:
        median = statistics.median(times)
        good = median < limit
        failed = failed or not good
        verdict = "ok" if good else "TOO SLOW"
        print(f"{what:20} {median:.3f} s  (limit {limit} s, worst {max(times):.3f} s)  {verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
