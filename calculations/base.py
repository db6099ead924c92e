"""`HQECalculation`: what the CalcJobs around ``hqe-job`` share: code, threads, exit codes, files and how they travel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida.orm import Dict, SinglefileData
from pydantic import ValidationError

from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files
from aiida_hqe.jobs.deadline import WALLTIME
from aiida_hqe.potentials.settings import DEVICE
from aiida_hqe.settings import Settings

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENMM_CPU_THREADS", "NUMEXPR_NUM_THREADS")


class HQECalculation(CalcJob):
    """A run of ``hqe-job JOB`` on a computer. It holds no science: it writes the files that `aiida_hqe.jobs.files` names.

    `threads` and `device` are set in the environment of the job and are no part of its identity: a result computed on one
    thread serves a request for four. Raise `CACHE_VERSION` when the numbers of a job change for equal inputs.
    """

    CACHE_VERSION = 1
    JOB: ClassVar[str]
    RESULTS: ClassVar[tuple[str, ...]]
    """Files that are kept."""
    READ: ClassVar[tuple[str, ...]] = ()
    """Files that the parser reads and nobody keeps: what they say stands in its outputs."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports and exit codes of every job: 2xx input, 3xx files, 4xx physics and resources, 5xx partial but useful."""
        super().define(spec)
        spec.inputs["code"].required = True
        spec.input(
            "threads",
            valid_type=int,
            default=1,
            non_db=True,
            validator=_positive,
            help="Threads of the job (not hashed).",
        )
        spec.input(
            "device",
            valid_type=str,
            default="cpu",
            non_db=True,
            validator=_device,
            help="Where the networks of the job compute: cpu, cuda, or cuda:1 and so on (not hashed).",
        )
        spec.input(
            "metadata.options.resources", valid_type=dict, default={"num_machines": 1, "num_mpiprocs_per_machine": 1}
        )
        spec.input("metadata.options.withmpi", valid_type=bool, default=False)
        spec.input("metadata.options.parser_name", valid_type=str, default=f"hqe.{cls.JOB}")
        spec.output("status", valid_type=Dict, help="How the job ended: state, seconds, peak memory, versions, counts.")
        spec.default_output_node = "status"
        spec.exit_code(200, "ERROR_INPUT", message="the job refused its input: {message}")
        spec.exit_code(
            300,
            "ERROR_NO_STATUS",
            invalidates_cache=True,
            message="the job was killed or never began: it left no {name}",
        )
        spec.exit_code(310, "ERROR_MISSING_RESULT", invalidates_cache=True, message="the job left no {name}")
        spec.exit_code(320, "ERROR_UNREADABLE", invalidates_cache=True, message="{name} cannot be read: {message}")
        spec.exit_code(400, "ERROR_CONVERGENCE", message="the job did not converge: {message}")
        spec.exit_code(410, "ERROR_RESOURCE", invalidates_cache=True, message="the machine lacks something: {message}")
        spec.exit_code(411, "ERROR_WALLTIME", invalidates_cache=True, message="the time ran out: {message}")
        spec.exit_code(412, "ERROR_MEMORY", invalidates_cache=True, message="the memory ran out: {message}")
        spec.exit_code(420, "ERROR_INTEGRITY", invalidates_cache=True, message="damaged data: {message}")
        spec.exit_code(490, "ERROR_FAILED", invalidates_cache=True, message="the job failed: {message}")

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the settings, name the files to copy and to retrieve."""
        code = CodeInfo()
        code.code_uuid = self.inputs.code.uuid
        code.cmdline_params = [self.JOB]
        code.withmpi = False
        info = CalcInfo()
        info.codes_info = [code]
        info.prepend_text = "\n".join(["umask 077", *(f"export {name}={value}" for name, value in self.environment())])
        info.local_copy_list = self.copies()
        info.remote_copy_list = self.remote_copies()
        info.retrieve_list = [*self.RESULTS, files.STATUS]
        info.retrieve_temporary_list = [*self.READ]
        info.provenance_exclude_list = [files.FRAMES]
        self.write(folder)
        return info

    def environment(self) -> Iterator[tuple[str, int | str]]:
        """Environment variables of the job: threads, device, and its wall time (s), so that it ends before it is killed."""
        for name in _THREADS:
            yield name, self.inputs.threads
        yield files.DEVICE, self.inputs.device
        walltime = self.inputs.metadata.options.get("max_wallclock_seconds")
        if walltime:
            yield WALLTIME, int(walltime)

    def write(self, folder: Folder) -> None:
        """Write the files that are made from inputs rather than copied: the settings of the job."""
        raise NotImplementedError

    def copies(self) -> list[tuple[str, str, str]]:
        """Files copied from input nodes: (uuid of the node, name there, name in the job)."""
        raise NotImplementedError

    def remote_copies(self) -> list[tuple[str, str, str]]:
        """Files copied from the folders of earlier jobs: (uuid of the computer, path there, name in the job); none, mostly."""
        return []


def copy(node: SinglefileData, name: str) -> tuple[str, str, str]:
    """Entry that copies the file of `node` into the job as `name`."""
    return node.uuid, node.filename, name


def write_frames(folder: Folder, node: FramesData) -> None:
    """Write the frames that a job reads, whatever files of `node` they are in; the job's own node keeps no copy of them."""
    node.write(Path(folder.abspath) / files.FRAMES)


def write_settings(folder: Folder, name: str, model: type[Settings], node: Dict) -> None:
    """Write the settings in `node`, validated by `model`."""
    files.write_settings(Path(folder.abspath), name, model.model_validate(node.get_dict()))


def valid(model: type[Settings]) -> Callable[[Any, Any], str | None]:
    """Validator of a Dict port: its content must be `model`."""

    def check(node: Any, _port: Any) -> str | None:
        if node is None:
            return None
        try:
            model.model_validate(node.get_dict())
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            return f"{key}: {first['msg']} (got {first.get('input')!r})"
        return None

    return check


def _device(value: str, _port: Any) -> str | None:
    if re.fullmatch(DEVICE, value):
        return None
    return f"a device, cpu, cuda, or cuda:1 and so on was expected (got {value!r})"


def _positive(value: int, _port: Any) -> str | None:
    return None if value >= 1 else f"at least one thread was expected (got {value})"
