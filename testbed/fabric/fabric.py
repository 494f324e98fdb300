"""The fabric of one lab: makes plans real, finds its namespaces, takes everything down."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from types import TracebackType

from testbed.errors import CannotRunError, TestbedError, UsageError
from testbed.fabric import assembly, marks, rtnetlink
from testbed.fabric.namespace import Namespace, make_namespaces, open_namespaces
from testbed.fabric.specs import Bridge, Plan, Ruleset, Sysctl, Veth, Vxlan, faults
from testbed.naming import run_directory
from testbed.netlink import NLM_F_DUMP, NetlinkError, attributes, is_gone, string
from testbed.shell import CommandError, find_program

#: How long the kernel may take to bring links up before that is an error, in seconds.
SETTLE_LIMIT = 10.0


class Fabric:
    """Namespaces and links of lab `lab`. Nothing of it is in the host's network namespace.

    Holds the lab's lock while it lives; remains of a dead lab of the same name go first, or stay
    with `resume`: then `take_over` finds them again. Make it in the process that is to be the lab
    (after a fork), close it or use it as a context manager.
    Raises UsageError where a lab of that name lives, CannotRunError without the rights for it.
    """

    def __init__(self, lab: str, *, resume: bool = False) -> None:
        self.lab = lab
        if os.geteuid() != 0:
            raise CannotRunError("making network namespaces needs root: run it with sudo")
        self._lock = marks.lock_lab(lab)
        self._namespaces: dict[str, Namespace] = {}
        self._peers: dict[tuple[str, str], tuple[str, str]] = {}
        try:
            _raise_file_limit()
            if resume:
                self._mounts = run_directory(lab) / marks.MOUNTS
                return
            _end_all(lab)
            marks.remove_mounts(lab)
            self._mounts = marks.prepare_mounts(lab)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fabric:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def namespace(self, name: str) -> Namespace:
        """The namespace called `name`; UsageError with the known names otherwise."""
        try:
            return self._namespaces[name]
        except KeyError:
            known = ", ".join(sorted(self._namespaces)) or "none"
            raise UsageError(f"lab {self.lab}: no namespace {name!r}; it has: {known}") from None

    def namespaces(self) -> list[Namespace]:
        """Every namespace, in the order of making."""
        return list(self._namespaces.values())

    def deploy(self, plan: Plan) -> None:
        """Make everything in `plan`, or nothing.

        It may use namespaces, bridges and interfaces that exist already. When it returns, links
        carry packets. Raises UsageError for a plan that can't be, TestbedError naming what the
        kernel refused and where.
        """
        if problems := faults(plan) + self._clashes(plan):
            raise UsageError("; ".join(problems))
        deployment = _Deployment(self)
        try:
            deployment.make_namespaces(plan)
            deployment.make_links(plan)
            self._settle(plan)
            for ruleset in plan.rulesets:
                deployment.load(ruleset)
        except BaseException:
            deployment.undo()
            raise

    def _clashes(self, plan: Plan) -> list[str]:
        return [
            f"namespace {spec.name!r} exists already in lab {self.lab}"
            for spec in plan.namespaces
            if spec.name in self._namespaces
        ]

    def take_over(self, plan: Plan) -> None:
        """Know what `deploy(plan)` made in the process before this one; nothing is changed.

        Raises TestbedError for a namespace that isn't there any more.
        """
        names = [spec.name for spec in plan.namespaces]
        if missing := set(names) - set(marks.mounted_namespaces(self.lab).values()):
            gone = ", ".join(sorted(missing))
            raise TestbedError(f"lab {self.lab} can't be resumed: without {gone} it isn't whole")
        found = open_namespaces(self.lab, self._mounts, names)
        self._namespaces |= {namespace.name: namespace for namespace in found}
        for veth in plan.veths:
            self.connect_ends(veth)

    def standing(self) -> set[str]:
        """The names of the namespaces that stand, known to this process or not."""
        return set(marks.mounted_namespaces(self.lab).values())

    def remove_unknown(self) -> list[str]:
        """Remove what stands and was not taken over, with what runs in it; the names.

        Its cables are gone when this returns, even where somebody still holds the namespace.
        """
        mounted = marks.mounted_namespaces(self.lab)
        unknown = {inode: name for inode, name in mounted.items() if name not in self._namespaces}
        if unknown:
            marks.end_processes("", unknown, marks.ourselves())
            for namespace in open_namespaces(self.lab, self._mounts, sorted(unknown.values())):
                namespace.remove_cables()
                namespace.close()
            for name in unknown.values():
                marks.withdraw(self.lab, name)
        return sorted(unknown.values())

    def end_programs(self, name: str) -> None:
        """Kill and await whatever runs in a namespace."""
        marks.end_processes("", {self.namespace(name).inode}, marks.ourselves())

    def let_go(self) -> None:
        """Leave everything as it stands, for another process to take over."""
        for namespace in self._namespaces.values():
            namespace.close()
        self._namespaces.clear()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def adopt(self, namespaces: Iterable[Namespace]) -> None:
        """Take new namespaces in and publish their names."""
        fresh = {namespace.name: namespace for namespace in namespaces}
        self._namespaces |= fresh
        marks.publish(self.lab, fresh)

    def connect_ends(self, veth: Veth) -> None:
        """Remember the two ends of a cable that was made."""
        left = (veth.left.namespace, veth.left.interface)
        right = (veth.right.namespace, veth.right.interface)
        self._peers |= {left: right, right: left}

    def cables(self, namespace: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """A namespace's cables as (its own end, the other end), ends as (namespace, interface)."""
        return [(near, far) for near, far in self._peers.items() if near[0] == namespace]

    def remove(self, names: Iterable[str]) -> None:
        """Remove namespaces with all their links and processes; unknown names are passed over.

        Interfaces and routes at the far ends are gone when this returns.
        """
        going = [self._namespaces[name] for name in names if name in self._namespaces]
        if not going:
            return
        marks.end_processes("", {n.inode for n in going}, marks.ourselves())
        leaving = {namespace.name for namespace in going}
        far_ends: dict[str, list[str]] = {}
        for (near, _), (far, interface) in self._peers.items():
            if near in leaving and far not in leaving:
                far_ends.setdefault(far, []).append(interface)
        for name, interfaces in far_ends.items():
            self.unplug(name, *interfaces)
        for namespace in going:
            self._drop(namespace)
            marks.withdraw(self.lab, namespace.name)

    def unplug(self, namespace: str, *interfaces: str) -> None:
        """Remove interfaces, with their peers if they are cables' ends; gone already is fine."""
        place = self.namespace(namespace)
        requests = [rtnetlink.set_group(place.index(name), rtnetlink.GOING) for name in interfaces]
        for step in (requests, [rtnetlink.delete_group(rtnetlink.GOING)]):
            try:
                place.route.batch(step)
            except NetlinkError as error:
                if not is_gone(error):
                    what = f"removing {', '.join(interfaces)} in {namespace}"
                    raise TestbedError(f"{what}: {error.strerror}") from None
        for interface in interfaces:
            place.forget_index(interface)
            there = self._peers.pop((namespace, interface), None)
            if there is not None:
                self._peers.pop(there, None)
                if there[0] in self._namespaces:
                    self._namespaces[there[0]].forget_index(there[1])

    def set_link(self, namespace: str, interface: str, *, up: bool) -> None:
        """Bring an interface up, or down: then its cable carries nothing in either direction.

        An interface that goes down itself loses its routes; the one at the cable's other end keeps
        everything and is only without carrier.
        """
        place = self.namespace(namespace)
        place.route.request(*rtnetlink.set_up(place.index(interface), up=up))

    def _drop(self, namespace: Namespace) -> None:
        del self._namespaces[namespace.name]
        for here in [key for key in self._peers if key[0] == namespace.name]:
            self._peers.pop(self._peers.pop(here), None)
        namespace.close()

    def close(self) -> None:
        """Everything gone: processes, links, namespaces, mounts, names, the run directory."""
        if self._lock < 0:
            return
        try:
            _end_all(self.lab)
            for namespace in self._namespaces.values():
                namespace.close()
            self._namespaces.clear()
            self._peers.clear()
            marks.remove_directory(self.lab)
        finally:
            os.close(self._lock)
            self._lock = -1

    def _settle(self, plan: Plan) -> None:
        """Wait until the kernel has finished bringing up what `plan` made."""
        limit = time.monotonic() + SETTLE_LIMIT

        def pause(what: str) -> None:
            if time.monotonic() > limit:
                raise TestbedError(f"lab {self.lab}: {what} doesn't come up")
            time.sleep(0.0005)

        for name, interfaces in assembly.watched(plan).items():
            while waiting := interfaces & _unsettled(self._namespaces[name]):
                pause(f"{', '.join(sorted(waiting))} in {name}")
        for name, address in assembly.late_addresses(plan):
            while not _is_own(self._namespaces[name], address):
                pause(f"address {address} in {name}")


class _Deployment:
    """One `deploy` under way, and how to take back what it did so far."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.new: list[Namespace] = []
        self.sent: list[tuple[str, assembly.Spec]] = []
        self.settings: list[Sysctl] = []
        self.rulesets: list[Ruleset] = []

    def make_namespaces(self, plan: Plan) -> None:
        if plan.namespaces:
            lab = self.fabric.lab
            try:
                self.new = make_namespaces(lab, self.fabric._mounts, plan.namespaces)
            except BaseException:
                for spec in plan.namespaces:
                    marks.withdraw(lab, spec.name)
                raise
            self.fabric.adopt(self.new)

    def make_links(self, plan: Plan) -> None:
        later = [setting for setting in plan.sysctls if _of_interface(setting.key)]
        self._set([setting for setting in plan.sysctls if setting not in later])
        for batches in assembly.phases(plan, self.fabric.namespace):
            for name, batch in batches.items():
                self._send(self.fabric.namespace(name), batch)
        for veth in plan.veths:
            self.fabric.connect_ends(veth)
        self._set(later)

    def _set(self, settings: list[Sysctl]) -> None:
        for setting in settings:
            try:
                before = self.fabric.namespace(setting.namespace).sysctl(setting.key, setting.value)
            except TestbedError as error:
                if setting.optional and isinstance(error.__cause__, FileNotFoundError):
                    continue
                raise
            self.settings.append(Sysctl(setting.namespace, setting.key, before))

    def _send(
        self, namespace: Namespace, batch: list[tuple[rtnetlink.Request, assembly.Spec]]
    ) -> None:
        refused: list[int] = []
        try:
            namespace.route.batch([request for request, _ in batch])
        except NetlinkError as error:
            refused = error.refused
            what = assembly.describe(batch[error.index][1])
            raise TestbedError(
                f"lab {self.fabric.lab}: {what}: {error.strerror or error}"
            ) from None
        finally:
            done = enumerate(batch)
            self.sent += [(namespace.name, spec) for i, (_, spec) in done if i not in refused]

    def load(self, ruleset: Ruleset) -> None:
        place = self.fabric.namespace(ruleset.namespace)
        nft = find_program("nft", "nftables")
        try:
            place.run([nft, "-f", "-"], input=ruleset.text)
        except CommandError as error:
            raise TestbedError(f"nft table {ruleset.table}: {error}") from None
        self.rulesets.append(ruleset)

    def undo(self) -> None:
        """Take everything back, last things first; what is gone already is fine."""
        new = {namespace.name for namespace in self.new}
        for ruleset in self.rulesets:
            if ruleset.namespace not in new:
                argv = ["nft", "delete", "table", *ruleset.table.split()]
                self.fabric.namespace(ruleset.namespace).run(argv, check=False)
        for setting in reversed(self.settings):
            if setting.namespace not in new:
                self.fabric.namespace(setting.namespace).sysctl(setting.key, setting.value)
        links: dict[str, list[str]] = {}
        for name, spec in reversed(self.sent):
            if isinstance(spec, Veth):
                self.fabric.connect_ends(spec)
                if {spec.left.namespace, spec.right.namespace}.isdisjoint(new):
                    links.setdefault(name, []).append(spec.left.interface)
            elif name not in new:
                if isinstance(spec, Bridge | Vxlan):
                    links.setdefault(name, []).append(spec.interface)
                else:
                    self._take_back(self.fabric.namespace(name), spec)
        for name, interfaces in links.items():
            self.fabric.unplug(name, *dict.fromkeys(interfaces))
        self.fabric.remove(new)

    def _take_back(self, namespace: Namespace, spec: assembly.Spec) -> None:
        try:
            request = assembly.undoing(spec, namespace)
            if request is not None:
                namespace.route.request(*request)
        except (NetlinkError, TestbedError):
            pass  # it went with its interface


def _end_all(lab: str) -> None:
    """End the processes of `lab`: by mark, and by where they are."""
    spared = marks.ourselves()
    inodes = marks.mounted_namespaces(lab)
    marks.end_processes(lab, inodes, spared)


def _of_interface(key: str) -> bool:
    """Whether a sysctl is one interface's (`net.ipv4.conf.eth0.…`), so the link must be there."""
    parts = key.replace("/", ".").split(".")
    scoped = len(parts) > 3 and parts[2] in ("conf", "neigh")
    return scoped and parts[3] not in ("all", "default")


def _unsettled(namespace: Namespace) -> set[str]:
    """Interfaces that aren't ready to carry packets."""
    kind, _, payload = rtnetlink.all_links()
    found: set[str] = set()
    for link in namespace.route.request(kind, NLM_F_DUMP, payload):
        values = attributes(link.payload, 16)
        if not _ready(values):
            found.add(string(values[rtnetlink.IFLA_IFNAME]))
    return found


def _is_own(namespace: Namespace, address: str) -> bool:
    """Whether packets to `address` are taken in."""
    try:
        answer = namespace.route.request(*rtnetlink.get_route(address))
    except NetlinkError:
        return False
    return rtnetlink.is_local_route(answer[0].payload)


def _ready(values: dict[int, memoryview]) -> bool:
    state = bytes(values.get(rtnetlink.IFLA_OPERSTATE, b"\0"))[0]
    if state not in (rtnetlink.IF_OPER_UNKNOWN, rtnetlink.IF_OPER_UP):
        return False
    if string(values.get(rtnetlink.IFLA_QDISC, b"")) == "noop":
        return False
    info = attributes(values.get(rtnetlink.IFLA_LINKINFO, b""))
    if string(info.get(rtnetlink.IFLA_INFO_SLAVE_KIND, b"")) != "bridge":
        return True
    port = attributes(info.get(rtnetlink.IFLA_INFO_SLAVE_DATA, b""))
    forwarding = bytes((rtnetlink.BR_STATE_FORWARDING,))
    return bytes(port.get(rtnetlink.IFLA_BRPORT_STATE, forwarding)) == forwarding


def _raise_file_limit() -> None:
    """A namespace takes two descriptors, every served port one: the stock soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
