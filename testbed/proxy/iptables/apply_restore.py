"""iptables mode where the system's iptables is the legacy variant: rules by iptables-restore.

The legacy tables are not nf_tables', so netlink can't reach them. Every sync that changes something
is full: the tool replaces whole tables anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from time import perf_counter

from testbed import shell
from testbed.api.objects import IPV4
from testbed.proxy.iptables.apply import SERVICE_CHAIN, SHARED_CHAINS
from testbed.proxy.iptables.counters import counters_used, make_counter
from testbed.proxy.iptables.ruleset import BASE_CHAINS, RuleSet
from testbed.proxy.kernel.applier import FULL, NOTHING, SyncReport
from testbed.proxy.kernel.transaction import Namespace, RuleError, Transactions

_FAILED_LINE = re.compile(r"line:? (\d+)")


class RestoreApplier:
    """One family's rules of iptables mode by `iptables-legacy-restore`. See `Applier`."""

    def __init__(self, namespace: Namespace, family: str) -> None:
        self.namespace = namespace
        self.family = family
        self._program = "iptables-legacy" if family == IPV4 else "ip6tables-legacy"
        self._applied: RuleSet | None = None

    def close(self) -> None:
        """See `Applier.close`: nothing is held."""

    def sync(self, ruleset: RuleSet) -> SyncReport:
        """See `Applier.sync`; atomic table by table."""
        started = perf_counter()
        previous, self._applied = self._applied, None
        if previous is not None and not ruleset.difference(previous):
            self._applied = ruleset
            return SyncReport(NOTHING, perf_counter() - started, 0, 0)
        lines = list(self._lines(ruleset, self._saved()))
        self._ensure_counters(lines)
        self._restore(lines)
        self._applied = ruleset
        rules = sum(line.startswith("-A ") for line in lines)
        return SyncReport(FULL, perf_counter() - started, rules, len(ruleset.static))

    def rules_present(self) -> bool:
        """See `Applier.rules_present`: every line of ours is looked for."""
        if self._applied is None:
            return False
        saved = self._saved()
        wanted = self._applied
        if all(_missing(wanted, table, saved.get(table, [])) == 0 for table in wanted.static):
            return True
        self._applied = None
        return False

    def cleanup(self) -> None:
        """See `Applier.cleanup`. A chain that a stranger's chain jumps to stays, empty."""
        self._applied = None
        out: list[str] = []
        for table, lines in self._saved().items():
            ours = [
                line.split()[0][1:]
                for line in lines
                if line.startswith(":") and _is_ours(line.split()[0][1:])
            ]
            if ours:
                jumps = [
                    line
                    for line in lines
                    if line.startswith("-A ")
                    and not _is_ours(line.split()[1])
                    and re.split(" -[jg] ", line)[-1] in ours
                ]
                removed = [jump for jump in jumps if jump.split()[1] in BASE_CHAINS.get(table, ())]
                kept = {re.split(" -[jg] ", jump)[-1] for jump in jumps if jump not in removed}
                out += [f"*{table}", *(f":{name} - [0:0]" for name in ours)]
                out += [f"-D {jump[3:]}" for jump in removed]
                out += [*(f"-X {name}" for name in ours if name not in kept), "COMMIT"]
        if out:
            self._restore(out)

    def rules_of(self, table: str, chain: str) -> list[tuple[int, str]]:
        """See `Applier.rules_of`; legacy rules have numbers in their chain instead of handles."""
        if self._applied is None or table not in BASE_CHAINS:
            return []
        return list(enumerate(self._applied.chains(table).get(chain, ()), 1))

    def _lines(self, ruleset: RuleSet, saved: dict[str, list[str]]) -> Iterator[str]:
        """The input for --noflush: our chains anew, missing jumps in front, stale chains gone."""
        for table in ruleset.static:
            held = saved.get(table, [])
            chains = ruleset.chains(table)
            own = {name: lines for name, lines in chains.items() if name not in BASE_CHAINS[table]}
            there = {line.split()[0][1:] for line in held if line.startswith(":")}
            stale = sorted(n for n in there - own.keys() if SERVICE_CHAIN.match(n))
            yield f"*{table}"
            yield from (f":{name} - [0:0]" for name in (*own, *stale))
            for base in BASE_CHAINS[table]:
                for line in reversed(chains[base]):
                    if f"-A {base} {line}" not in held:
                        yield f"-I {base} {line}"
            yield from (f"-A {name} {line}" for name, lines in own.items() for line in lines)
            yield from (f"-X {name}" for name in stale)
            yield "COMMIT"

    def _saved(self) -> dict[str, list[str]]:
        """iptables-save's lines by table, without counters."""
        text = re.sub(r" \[\d+:\d+\]", "", self.namespace.run([f"{self._program}-save"]))
        tables: dict[str, list[str]] = {}
        for line in text.splitlines():
            if line.startswith("*"):
                tables[line[1:]] = current = []
            elif line.startswith((":", "-A")):
                current.append(line)
        return tables

    def _restore(self, lines: list[str]) -> None:
        text = "\n".join([*lines, ""])
        try:
            self.namespace.run([f"{self._program}-restore", "--noflush", "-w"], input=text)
        except shell.CommandError as error:
            found = _FAILED_LINE.search(error.output)
            place = min(int(found.group(1)), len(lines)) - 1 if found else 0
            table = next((x[1:] for x in reversed(lines[: place + 1]) if x[:1] == "*"), "")
            reason = error.output.strip().splitlines()[0] if error.output.strip() else str(error)
            raise RuleError(
                self.namespace.name, table, lines[place], reason, error.status
            ) from error

    def _ensure_counters(self, lines: list[str]) -> None:
        names = sorted(counters_used(lines))
        if names:
            door = Transactions(self.namespace)
            for name in names:
                make_counter(door, name)
            door.close()


def _missing(ruleset: RuleSet, table: str, held: list[str]) -> int:
    """How many chains and rules of a table aren't among iptables-save's lines."""
    present = set(held)
    chains = ruleset.chains(table)
    wanted = [f":{chain} -" for chain in chains if chain not in BASE_CHAINS[table]]
    wanted += [f"-A {chain} {line}" for chain, lines in chains.items() for line in lines]
    return sum(line not in present for line in wanted)


def _is_ours(chain: str) -> bool:
    return chain in SHARED_CHAINS or SERVICE_CHAIN.match(chain) is not None


@lru_cache(maxsize=1)
def system_uses_legacy() -> bool:
    """Whether `iptables` on this system is the legacy variant."""
    return "(legacy)" in shell.run([shell.find_program("iptables"), "--version"])
