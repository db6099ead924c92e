"""Submit a campaign from Python: `verdi run examples/submit_with_verdi_run.py CAMPAIGN.yaml [CODE]`.

It does what `aiida-hqe submit CAMPAIGN.yaml` does, by the plain AiiDA way: check the file, get a builder, submit. The same
works from a protocol, without a campaign file; see `protocol_builder`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aiida.engine import ProcessBuilder, submit
from aiida.orm import AbstractCode, load_code

from aiida_hqe.campaign.check import check
from aiida_hqe.errors import HQEError
from aiida_hqe.workchains.campaign import CampaignWorkChain


def file_builder(path: Path, code: AbstractCode) -> ProcessBuilder:
    """Builder of the campaign in a file, after everything in it was checked."""
    checked = check(path)
    return CampaignWorkChain.get_builder_from_campaign(code, checked.campaign, checked.directory)


def protocol_builder(code: AbstractCode, directory: Path) -> ProcessBuilder:
    """Builder of the same campaign from a protocol and what differs from it; the files lie in `directory`."""
    system = {
        "topology": "methanol.pdb",
        "forcefield": ["methanol.xml", "tip3p.xml"],
        "solvate": {"model": "tip3p", "box": "23 angstrom"},
        "qm": {"residues": ["MOH"]},
        "cores": [{"atoms": [4, 5]}],
        "charge": 0,
        "cutoff": "8.5 angstrom",
        "switch_width": "1.5 angstrom",
    }
    overrides = {
        "levels": {"embedding": {"core_orbitals": [5]}},
        "selection": {"target_force_error": "150 meV/angstrom"},
        "stop": {"iterations": 2},
    }
    return CampaignWorkChain.get_builder_from_protocol(code, system, directory, protocol="fast", overrides=overrides)


def main(arguments: list[str]) -> int:
    """Submit the campaign file named first, with the code named second."""
    if len(arguments) not in (1, 2):
        print("a campaign file, and perhaps a code, were expected: CAMPAIGN.yaml [CODE]", file=sys.stderr)
        return 2
    code = load_code(arguments[1] if len(arguments) == 2 else "hqe-job@localhost")
    try:
        node = submit(file_builder(Path(arguments[0]), code))
    except HQEError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"submitted campaign {node.pk} ({node.uuid}): follow it with `aiida-hqe watch {node.pk}`")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
