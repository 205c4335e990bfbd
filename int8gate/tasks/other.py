"""Anything else: judged by how close the quantized outputs stay to the float ones."""

from int8gate.tasks.task import Task

TASK = Task(
    name="other",
    order=99,
    data="real pictures; the gate is fidelity to float",
    any_folder=True,
    arrays="any",
)
