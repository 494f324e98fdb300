"""kubelet: makes the Pods that are assigned to nodes real, probes them, reports how they are."""

from testbed.control.kubelet.agent import Kubelet
from testbed.control.kubelet.runtime import PodRuntime, Sandbox

__all__ = ["Kubelet", "PodRuntime", "Sandbox"]
