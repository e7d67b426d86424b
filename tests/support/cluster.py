"""A cluster of three on one machine, as Ray emulates it."""

import time
from contextlib import suppress

import psutil


class Cluster:
    """The emulated one; nodes can be taken away without a warning, and come back."""

    def __init__(self):
        from ray.cluster_utils import Cluster as Emulated

        self.emulated = Emulated(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.nodes = [self.emulated.add_node(num_cpus=1) for _ in range(2)]
        self.emulated.wait_for_nodes()

    @property
    def address(self):
        return self.emulated.address

    def at_work(self, name):
        """The number of a node that runs a process of this name."""
        for number, node in enumerate(self.nodes):
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            if any(name in " ".join(one.cmdline()) for one in raylet.children(recursive=True)):
                return number
        return None

    def lose(self, number):
        self.emulated.remove_node(self.nodes[number], allow_graceful=False)
        self.nodes[number] = None

    def restore(self):
        self.nodes = [node or self.emulated.add_node(num_cpus=1) for node in self.nodes]
        self.emulated.wait_for_nodes()


def called(name):
    """Processes of the cluster, which this one has started; others on this machine may use Ray, too."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(one.cmdline()):
                found.append(one)
    return found


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found
