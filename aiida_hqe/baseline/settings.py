"""Names of the baselines."""

from __future__ import annotations

from typing import Literal

BaselineName = Literal["none", "gfn1-xtb", "gfn2-xtb", "gfn1-xtb-gas", "gfn2-xtb-gas", "hf-minimal"]
"""``gfn1-xtb`` and ``gfn2-xtb`` need the optional extra ``xtb``; with ``-gas`` the QM atoms do not feel the point charges.
``hf-minimal`` is Hartree-Fock in STO-3G by PySCF."""
