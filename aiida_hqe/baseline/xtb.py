r"""GFN1- and GFN2-xTB in point charges, from the package ``xtb`` (optional extra ``xtb``).

S. Grimme, C. Bannwarth, P. Shushkov, JCTC 2017, 13, 1989, doi:10.1021/acs.jctc.7b00118; C. Bannwarth, S. Ehlert, S. Grimme,
JCTC 2019, 15, 1652, doi:10.1021/acs.jctc.8b01176.

A charge interacts with the shell charges :math:`Q_s` of the atoms through a damped Coulomb law,
:math:`q_m \sum_s Q_s (r_{sm}^2 + x_{sm}^{-2})^{-1/2}`, where x is a mean of the hardness of the shell and that of the element
given for the charge. So the elements of the charges are part of the model: they change energies by millihartree. Atomic
dipoles and quadrupoles of GFN2 do not feel the charges at all. What is left is about half the response that density functional
theory has (``benchmarks/README.md``); a network whose electrostatics are undamped learns the whole response more easily than
the rest of it, so either method can also be had of the QM atoms alone.

The library gives the forces on the charges, but not the potential at them, dE/dq. Forces are the charge times the slope of that
potential, and the potential is a sum of such terms over the atoms: fitted to the forces of all charges of an element with a set
of widths x on every atom, it comes out within a few microvolts (measured against differences of energies).
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from importlib import import_module, metadata
from typing import Any

import numpy as np

from aiida_hqe.baseline.baseline import Baseline
from aiida_hqe.errors import ConvergenceError, InputError, ResourceError
from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.units import BOHR, HARTREE, HARTREE_PER_BOHR

_HEAVIEST = 86
_ACCURACY = 1e-3
"""Of the self-consistent charges, in units of the program's default (1e-6 hartree)."""

_WIDTHS = (0.25, 0.35, 0.45, 0.6, 1.0)
"""Hardnesses (hartree) between which those of pairs of elements lie."""

_EQUATIONS = 6
"""Equations per unknown in the fit of a potential, at most: the nearest charges are used."""

_STEP = 1e-3
"""Change of a charge (e) in differences of energies, where there are too few charges to fit."""


def gfn1(frame: Frame) -> Baseline:
    """GFN1-xTB; errors as in `baseline.evaluate`."""
    return _Calculation(frame, "GFN1xTB", charged=True).baseline()


def gfn2(frame: Frame) -> Baseline:
    """GFN2-xTB; errors as in `baseline.evaluate`."""
    return _Calculation(frame, "GFN2xTB", charged=True).baseline()


def gfn1_gas(frame: Frame) -> Baseline:
    """GFN1-xTB of the QM atoms alone; errors as in `baseline.evaluate`."""
    return _Calculation(frame, "GFN1xTB", charged=False).baseline()


def gfn2_gas(frame: Frame) -> Baseline:
    """GFN2-xTB of the QM atoms alone; errors as in `baseline.evaluate`."""
    return _Calculation(frame, "GFN2xTB", charged=False).baseline()


class _Calculation:
    """One frame by one method, with its point charges or without."""

    def __init__(self, frame: Frame, method: str, *, charged: bool) -> None:
        _check("QM atoms", frame, frame.numbers)
        if charged:
            _check("point charges", frame, frame.mm_numbers)
        self.frame, self.method, self.charged, self.interface = frame, method, charged, interface()

    def baseline(self) -> Baseline:
        """Energy, forces and the potential at the charges."""
        frame, calculator, result = self.frame, *self._run(self.frame.mm_charges)
        if not self.charged:
            return dataclasses.replace(
                Baseline.nothing(frame),
                energy=result.get_energy() * HARTREE,
                forces=-result.get_gradient() * HARTREE_PER_BOHR,
            )
        pulls = _charge_gradient(calculator, result, frame.n_mm)
        potential = self._potential(pulls, result.get_charges())
        return Baseline(
            energy=result.get_energy() * HARTREE,
            forces=-result.get_gradient() * HARTREE_PER_BOHR,
            mm_forces=-pulls * HARTREE_PER_BOHR,
            charge_gradient=potential * HARTREE,
        )

    def _run(self, charges: Floats) -> tuple[Any, Any]:
        frame, interface = self.frame, self.interface
        try:
            calculator = interface.Calculator(
                getattr(interface.Param, self.method), frame.numbers, frame.positions / BOHR, frame.charge, frame.spin
            )
            calculator.set_verbosity(0)
            calculator.set_accuracy(_ACCURACY)
            if self.charged and frame.n_mm:
                calculator.set_external_charges(frame.mm_numbers, charges, frame.mm_positions / BOHR)
            return calculator, calculator.singlepoint()
        except interface.XTBException as error:
            raise ConvergenceError(
                f"a converged {self.method} calculation was expected of frame {frame.hash[:12]} (got:"
                f" {' '.join(str(error).split())}): check the geometry, or choose another baseline"
            ) from error

    def _potential(self, pulls: Floats, atomic: Floats) -> Floats:
        """Derivative of the energy by each charge (n_mm,), hartree/e, from the gradient `pulls` (n_mm, 3) on them."""
        frame, potential = self.frame, np.zeros(self.frame.n_mm)
        distances = np.linalg.norm(frame.mm_positions[:, None] - frame.positions, axis=-1)
        unknowns = frame.n_qm * len(_WIDTHS)
        for element in np.unique(frame.mm_numbers):
            sites: Ints = np.flatnonzero(frame.mm_numbers == element)
            charged = sites[np.abs(frame.mm_charges[sites]) > _STEP]
            if 3 * len(charged) < unknowns:
                potential[sites] = [self._slope(int(site)) for site in sites]
                continue
            nearest = charged[np.argsort(distances[charged].min(axis=1))[: _EQUATIONS * unknowns // 3]]
            weights = self._fit(nearest, pulls, atomic)
            potential[sites] = self._kernel(sites)[0] @ weights
        return potential

    def _fit(self, sites: Ints, pulls: Floats, atomic: Floats) -> Floats:
        """Weights of the terms of `_kernel`; those of an atom add up to its charge, as seen from afar."""
        charges = self.frame.mm_charges[sites]
        slopes = self._kernel(sites)[1] * charges[:, None, None]
        design = np.vstack(
            [slopes.transpose(0, 2, 1).reshape(3 * len(sites), -1), np.tile(np.eye(len(atomic)), len(_WIDTHS))]
        )
        return np.linalg.lstsq(design, np.concatenate([pulls[sites].ravel(), atomic]), rcond=1e-11)[0]

    def _kernel(self, sites: Ints) -> tuple[Floats, Floats]:
        """Damped Coulomb terms (sites, terms) and their slopes (sites, terms, 3) in atomic units: one per width and atom."""
        vectors = (self.frame.mm_positions[sites][:, None] - self.frame.positions) / BOHR
        squares = (vectors**2).sum(axis=-1)
        damped = np.stack([squares + width**-2 for width in _WIDTHS], axis=1)
        slopes = -(damped**-1.5)[..., None] * vectors[:, None]
        terms = damped.shape[1] * damped.shape[2]
        return (damped**-0.5).reshape(-1, terms), slopes.reshape(-1, terms, 3)

    def _slope(self, site: int) -> float:
        """Derivative of the energy by one charge, by central difference."""
        energies = []
        for sign in (1, -1):
            charges = np.array(self.frame.mm_charges)
            charges[site] += sign * _STEP
            energies.append(self._run(charges)[1].get_energy())
        return float(energies[0] - energies[1]) / (2 * _STEP)


def _check(place: str, frame: Frame, numbers: Ints) -> None:
    """Raise `InputError` for elements that the library would read out of the range of its tables."""
    bad = sorted({int(z) for z in numbers if not 1 <= z <= _HEAVIEST})
    if bad:
        remedy = (
            "choose the baseline hf-minimal"
            if place == "QM atoms"
            else "correct them (0 is a site without an element), or choose a baseline that does not see them, gfn2-xtb-gas"
        )
        raise InputError(
            f"elements 1 to {_HEAVIEST} were expected of the {place} for GFN-xTB (frame {frame.hash[:12]} has {bad}): {remedy}",
            "potential.baseline",
        )


def interface() -> Any:
    """The Python interface of the package; `ResourceError` where it is not installed."""
    try:
        return import_module("xtb.interface")
    except ImportError as error:
        raise ResourceError(
            f"the baseline needs a package that is not installed ({error.name}): pip install 'aiida-hqe[xtb]' (Python 3.11)"
            ", or choose the baseline hf-minimal"
        ) from error


def _charge_gradient(calculator: Any, result: Any, n: int) -> Floats:
    """Gradient on the charges (n, 3), hartree/bohr, which the library exports and its Python interface does not wrap."""
    gradient = np.zeros((n, 3))
    if n:
        ffi = import_module("xtb.libxtb").ffi
        handles = (int(ffi.cast("uintptr_t", handle)) for handle in (calculator._env, result._res))
        _library().xtb_getPCGradient(
            *(ctypes.c_void_p(handle) for handle in handles), ctypes.c_void_p(gradient.ctypes.data)
        )
        if calculator.check() != 0:
            raise ConvergenceError(f"a gradient on the charges was expected of xtb (got: {calculator.get_error()})")
    return gradient


@functools.cache
def _library() -> ctypes.CDLL:
    """The shared library that the package ``xtb`` brought and has loaded."""
    files = [file for file in metadata.files("xtb") or [] if file.name.startswith("libxtb")]
    if not files:
        raise ResourceError(
            "a wheel of xtb with its library was expected (got a build against another): pip install xtb"
        )
    library = ctypes.CDLL(str(files[0].locate()))
    library.xtb_getPCGradient.restype = None
    return library
