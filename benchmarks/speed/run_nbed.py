"""CCSD in PBE with nbed, measured: `python run_nbed.py WATERS BASIS GRID_LEVEL` prints JSON.

It needs a Python that has nbed, not aiida-hqe. CPU seconds of this process on one thread, from the driver's start to the
embedded energy.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from nbed.config import NbedConfig
from nbed.driver import NbedDriver
from pyscf import dft

CLUSTER = Path(__file__).with_name("methanol_12_waters.xyz")


def main(waters: int, basis: str, grid_level: int) -> None:
    """Print seconds, energies and the number of core orbitals."""
    dft.gen_grid.Grids.level = grid_level
    n = 6 + 3 * waters
    atoms = CLUSTER.read_text().splitlines()[2 : 2 + n]
    start = time.process_time()
    config = NbedConfig(
        geometry="\n".join([str(n), "", *(" ".join(atom.split()) for atom in atoms)]),
        n_active_atoms=6,
        basis=basis,
        xc_functional="pbe",
        projector="mu",
        mu_level_shift=1e6,
        localization="spade",
        convergence=1e-9,
        run_ccsd_emb=True,
        run_virtual_localization=False,
        max_hf_cycles=200,
        max_dft_cycles=200,
    )
    driver = NbedDriver(config)
    driver.embed()
    print(
        json.dumps(
            {
                "seconds": time.process_time() - start,
                "environment_energy": float(driver._global_ks.e_tot),
                "orbitals": len(driver.localized_system.active_MO_inds),
                "energy": float(driver.mu["e_ccsd"]),
                "version": version("nbed"),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
