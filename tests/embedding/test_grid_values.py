import numpy as np
import pytest
from pyscf import dft, gto
from pyscf.dft import numint

from aiida_hqe.embedding import grid_values
from aiida_hqe.embedding.grid_values import StoredValues


def solved(integration, xc, spin=0):
    mol = gto.M(
        atom="O 0 0 0.115; H 0 0.754 -0.459; H 0 -0.754 -0.459", basis="sto-3g", spin=spin, charge=spin, verbose=0
    )
    mf = (dft.UKS if spin else dft.RKS)(mol)
    mf._numint, mf.xc, mf.grids.level, mf.nlcgrids.level = integration, xc, 0, 0
    mf.kernel()
    return mf


@pytest.mark.parametrize(("xc", "spin"), [("lda,vwn", 0), ("pbe", 0), ("tpss", 1), ("wb97x_v", 0)])
def test_stored_values_change_nothing(xc, spin):
    one, other = solved(StoredValues(), xc, spin), solved(numint.NumInt(), xc, spin)
    assert one._numint._kept
    assert one.e_tot == pytest.approx(other.e_tot, abs=1e-12)
    if xc != "wb97x_v":
        assert np.abs(one.nuc_grad_method().kernel() - other.nuc_grad_method().kernel()).max() < 1e-9


def test_values_of_another_grid_are_not_used():
    mf = solved(StoredValues(), "pbe")
    mf.grids.level = 1
    mf.grids.build()
    fresh = mf.copy()
    fresh._numint = numint.NumInt()
    dm = mf.make_rdm1()
    assert mf.energy_tot(dm) == pytest.approx(fresh.energy_tot(dm), abs=1e-12)


def test_values_too_large_to_keep_are_evaluated_again(monkeypatch):
    monkeypatch.setattr(grid_values, "LIMIT", 1e3)
    mf = solved(StoredValues(), "pbe")
    assert mf.converged
    assert not mf._numint._kept
