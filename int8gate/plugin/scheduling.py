"""xdist's scheduler of groups, which loses no test and no run when a worker dies."""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController


class GroupScheduling(LoadGroupScheduling):
    """Of pytest-xdist 3.8, mended where a worker has died.

    There the test that killed it runs again, and kills the next; what it had finished is handed out
    once more as no work at all, for which a worker waits without end (pytest-xdist issues 1323 and
    1378); work is given to a worker that has not yet collected, an internal error (1189); and one
    that takes the dead one's place gets a single test, with which it waits for the next.
    """

    def remove_node(self, node: WorkerController) -> str | None:
        """Returns the test that ran when the worker died; the others that it had run elsewhere."""
        workload = self.assigned_work.pop(node)
        waiting = {
            scope: [nodeid for nodeid, completed in unit.items() if not completed]
            for scope, unit in workload.items()
        }
        crashed = next((nodeid for nodeids in waiting.values() for nodeid in nodeids), None)
        for scope, nodeids in waiting.items():
            if left := {nodeid: False for nodeid in nodeids if nodeid != crashed}:
                self.workqueue[scope] = left
        if crashed is not None:
            for other in self.assigned_work:
                self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        if node not in self.registered_collections:
            return
        super()._reschedule(node)
        while self.workqueue and not node.shutting_down and self._waits(node):
            super()._reschedule(node)

    def _waits(self, node: WorkerController) -> bool:
        """A worker starts a test when it knows the one after it, or that there is none."""
        return self._pending_of(self.assigned_work[node]) < 2
