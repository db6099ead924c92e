"""`HQEWorkChain`: what the workchains share: the code, and the resources that its jobs are given."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from aiida.engine import CalcJob, WorkChain, append_
from aiida.orm import AbstractCode, Dict, ProcessNode

from aiida_hqe.calculations.monitors import ENTRY_POINT, INTERVAL
from aiida_hqe.workchains.resumption import end_cut_off, submitted_before

ATTEMPTS = 3
"""How often a job is submitted at most, where it is the machine that ends it."""

MACHINE = frozenset({100, 110, 120, 140, 300, 310, 320, 410, 411, 412, 420, 490})
"""Exit codes for which the machine is to blame; those of ours are not cached."""

LACKS = {110: "memory", 120: "walltime", 410: "resource", 411: "walltime", 412: "memory"}
"""What a job lacked that ended with such an exit code."""

RAISED = {"walltime": "max_wallclock_seconds", "memory": "max_memory_kb", "resource": "max_memory_kb"}
"""Option that is doubled where its lack ended a job."""


class HQEWorkChain(WorkChain):
    """A workchain whose jobs run one code.

    A job that the machine ended, and not its input, is submitted again with the same input. A step that a killed worker did not
    end is begun anew by the next one, which takes up what it had submitted before.

    `threads`, `device` and `options` say where and how, not what: none is a node, and none changes a result.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of every workchain."""
        super().define(spec)
        spec.input("code", valid_type=AbstractCode, help="The code hqe-job.")
        spec.input("threads", valid_type=int, default=1, non_db=True, help="Threads of each job.")
        spec.input(
            "device",
            valid_type=str,
            default="cpu",
            non_db=True,
            help="Where networks compute: cpu, cuda, or cuda:1 ...",
        )
        spec.input(
            "options", valid_type=dict, default=dict, non_db=True, help="Options of each job: queue, walltime, memory."
        )

    def load_instance_state(self, saved_state: MutableMapping[str, Any], load_context: Any) -> None:
        """Go on from a checkpoint, in another worker than before."""
        super().load_instance_state(saved_state, load_context)
        end_cut_off(self.node, {awaitable.pk for awaitable in self._awaitables})

    def submit(self, process: Any, inputs: dict[str, Any]) -> ProcessNode:
        """Submit a child under the link label of its `inputs`, unless this step did before its worker was killed."""
        before = submitted_before(self.node, self.ctx, inputs["metadata"]["call_link_label"])
        submitted: ProcessNode = before or super().submit(process, inputs)
        return submitted

    def job(self, label: str, **inputs: Any) -> dict[str, Any]:
        """Inputs of a CalcJob: `inputs`, the code and the resources; those that are ``None`` are left out."""
        metadata = {"label": label, "call_link_label": label, "options": self._options()}
        return given(**self._places("code", "threads", "device"), metadata=metadata, **self._monitors(), **inputs)

    def tries(self, name: str) -> bool:
        """Whether the job whose attempts are `name` in the context is to be submitted: it never was, or the machine ended it."""
        attempts = self.ctx.get(name) or []
        return not attempts or (len(attempts) < ATTEMPTS and ended_by_machine(attempts[-1]))

    def attempt(self, name: str, process: type[CalcJob], label: str, **inputs: Any) -> None:
        """Submit a job, and wait for it as one more attempt at `name`, given more of what earlier ones lacked."""
        attempts = self.ctx.get(name) or []
        raised: dict[str, int] = {}
        for job in attempts:
            raised = self.raised(lacked(job), raised)
        if attempts:
            self.report(f"{ending(attempts[-1])}; it is tried again")
        inputs = self.job(label, **inputs)
        inputs["metadata"]["options"] |= raised
        self.to_context(**{name: append_(self.submit(process, inputs))})

    def raised(self, lacks: set[str], before: Mapping[str, int]) -> dict[str, int]:
        """Limits that jobs get next, doubled where they lacked something, on top of those raised `before`."""
        limits = dict(before)
        for option in {RAISED[lack] for lack in lacks if lack in RAISED}:
            limit = limits.get(option, self.inputs.options.get(option))
            if limit is not None:
                limits[option] = 2 * limit
        return limits

    def child(self, label: str, **inputs: Any) -> dict[str, Any]:
        """Inputs of a workchain below this one, with the same code and resources."""
        places = self._places("code", "threads", "device", "options")
        return given(**places, metadata={"label": label, "call_link_label": label}, **inputs)

    def _places(self, *names: str) -> dict[str, Any]:
        """Those of these inputs that there are: a workchain that an earlier version began has no device."""
        return {name: self.inputs[name] for name in names if name in self.inputs}

    def _monitors(self) -> dict[str, Any]:
        """What the daemon reads of a running job: the counter of one on another machine."""
        computer = self.inputs.code.computer
        if computer is None or computer.transport_type == "core.local":
            return {}
        return {"monitors": {"progress": Dict({"entry_point": ENTRY_POINT, "minimum_poll_interval": INTERVAL})}}

    def _options(self) -> dict[str, Any]:
        options = dict(self.inputs.options)
        computer, threads = self.inputs.code.computer, self.inputs.threads
        if computer is None or computer.scheduler_type == "core.direct":
            return options
        options.setdefault("rerunnable", True)  # a job goes on in its folder: begun again where its node failed
        if threads > 1 and "resources" not in options:
            options["resources"] = {"num_machines": 1, "num_mpiprocs_per_machine": 1, "num_cores_per_mpiproc": threads}
        return options


def given(**inputs: Any) -> dict[str, Any]:
    """The `inputs` that are not ``None``."""
    return {name: value for name, value in inputs.items() if value is not None}


def outputs(node: ProcessNode, *labels: str) -> dict[str, Any]:
    """Those outputs of `node` that it has, of `labels`."""
    return {label: node.outputs[label] for label in labels if label in node.outputs}


def ended_by_machine(node: ProcessNode) -> bool:
    """Whether a process may succeed when it is tried again: the machine, a daemon or a file failed it, not its input."""
    return bool(node.is_excepted) or node.exit_status in MACHINE


def lacked(job: ProcessNode) -> set[str]:
    """What a job that ended lacked, of what more can be asked for; of a full disk or a missing GPU more memory is no cure."""
    lack = LACKS.get(job.exit_status)
    other = lack == "resource" and "status" in job.outputs and job.outputs.status.get("cause") in ("disk", "device")
    return set() if lack is None or other else {lack}


def ending(node: ProcessNode) -> str:
    """How a process ended, in a line."""
    if node.is_finished:
        return f"{node.process_label} <{node.pk}> ended with exit code {node.exit_status}: {node.exit_message}"
    return f"{node.process_label} <{node.pk}> was {node.process_state.value if node.process_state else 'lost'}"
