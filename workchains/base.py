"""`HQEWorkChain`: what the workchains share: the code, and the resources that its jobs are given."""

from __future__ import annotations

from typing import Any

from aiida.engine import WorkChain
from aiida.orm import AbstractCode, ProcessNode


class HQEWorkChain(WorkChain):
    """A workchain whose jobs run one code.

    `threads` and `options` say where and how, not what: neither is a node, and neither changes a result.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of every workchain."""
        super().define(spec)
        spec.input("code", valid_type=AbstractCode, help="The code hqe-job.")
        spec.input("threads", valid_type=int, default=1, non_db=True, help="Threads of each job.")
        spec.input(
            "options", valid_type=dict, default=dict, non_db=True, help="Options of each job: queue, walltime, memory."
        )

    def job(self, label: str, **inputs: Any) -> dict[str, Any]:
        """Inputs of a CalcJob: `inputs`, the code and the resources; those that are ``None`` are left out."""
        metadata = {"label": label, "call_link_label": label, "options": self._options()}
        return given(code=self.inputs.code, threads=self.inputs.threads, metadata=metadata, **inputs)

    def child(self, label: str, **inputs: Any) -> dict[str, Any]:
        """Inputs of a workchain below this one, with the same code and resources."""
        resources = {name: self.inputs[name] for name in ("code", "threads", "options")}
        return given(**resources, metadata={"label": label, "call_link_label": label}, **inputs)

    def _options(self) -> dict[str, Any]:
        options = dict(self.inputs.options)
        threads = self.inputs.threads
        if threads > 1 and "resources" not in options and self._reserves():
            options["resources"] = {"num_machines": 1, "num_mpiprocs_per_machine": 1, "num_cores_per_mpiproc": threads}
        return options

    def _reserves(self) -> bool:
        """Whether the computer's scheduler reserves cores, so that it must be told how many."""
        computer = self.inputs.code.computer
        return computer is not None and computer.scheduler_type != "core.direct"


def given(**inputs: Any) -> dict[str, Any]:
    """The `inputs` that are not ``None``."""
    return {name: value for name, value in inputs.items() if value is not None}


def outputs(node: ProcessNode, *labels: str) -> dict[str, Any]:
    """Those outputs of `node` that it has, of `labels`."""
    return {label: node.outputs[label] for label in labels if label in node.outputs}


def ending(node: ProcessNode) -> str:
    """How a process ended, in a line."""
    if node.is_finished:
        return f"{node.process_label} <{node.pk}> ended with exit code {node.exit_status}: {node.exit_message}"
    return f"{node.process_label} <{node.pk}> was {node.process_state.value if node.process_state else 'lost'}"
