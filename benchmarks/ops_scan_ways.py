"""Ways to compute the selective scan and its gradients, and whether their results are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from medkit.ops.selective_scan import chunked, cpu, selective_scan, selective_scan_reference
from medkit.ops.selective_scan.inputs import Inputs

try:
    from mambapy.mamba import MambaBlock
except ImportError:
    MambaBlock = None
try:
    import selective_scan_cuda
except ImportError:
    selective_scan_cuda = None

STATES = 16
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: torch.finfo(torch.bfloat16).eps}
CHECKED_STEPS = 1000
# Without and with gradients: how far the reference is timed, which backward takes time with the square of the length;
# and how many arrays of (batch, length, channels, states) mambapy holds at its peak, as measured.
STEPS_OF_REFERENCE, ARRAYS_OF_MAMBAPY = (2**15, CHECKED_STEPS), (6, 9)

RIVALS = {"mamba-ssm": selective_scan_cuda, "mambapy": MambaBlock}

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """Sizes, type, and whether bias, softplus and gate are in use; the skip always is."""

    batch: int
    channels: int
    length: int
    dtype: torch.dtype = torch.float32
    everything: bool = False

    @property
    def states(self) -> int:
        """How many there are over all steps."""
        return self.batch * self.channels * self.length * STATES

    @property
    def type_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def cells(self) -> tuple[str, str, str]:
        size = f"{self.batch} x {self.channels} x {self.length}"
        return size, self.type_name, "all" if self.everything else "skip"


@dataclass(frozen=True)
class Problem:
    """Arguments by their names in ``selective_scan``, B and C of three dimensions, and a gradient by the output."""

    tensors: Tensors
    softplus: bool
    grad: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Problem:
        tensors = {name: change(x) for name, x in self.tensors.items()}
        return replace(self, tensors=tensors, grad=change(self.grad))


# Computes the output, and if asked for, the gradients by their arguments' names.
Scan = Callable[[Problem, bool], Tensors]


@dataclass(frozen=True)
class Way:
    """One way to compute the scan; ``steps_first`` where it takes (batch, length, channels)."""

    name: str
    scan: Scan
    steps_first: bool = False

    def own(self, problem: Problem) -> Problem:
        """The problem in the order of axes that the way takes."""
        return problem.each(turned) if self.steps_first else problem

    def results(self, problem: Problem, gradients: bool) -> Tensors:
        """What it computes, channels first."""
        found = self.scan(self.own(problem), gradients)
        return {name: turned(x) for name, x in found.items()} if self.steps_first else found


def turned(x: Tensor) -> Tensor:
    return x.mT.contiguous() if x.ndim == 3 else x


def problem_of(case: Case, device: str) -> Problem:
    """As a trained block has it: decays from 1 to N, step sizes around 0.01."""
    torch.manual_seed(0)
    sequence, projection = (case.batch, case.channels, case.length), (case.batch, STATES, case.length)
    step = 0.5 * torch.randn(sequence, device=device)
    bias = -4.6 + 0.5 * torch.randn(case.channels, device=device)
    typed = {
        "u": torch.randn(sequence, device=device),
        "delta": step if case.everything else functional.softplus(step + bias[:, None]),
        "B": torch.randn(projection, device=device),
        "C": torch.randn(projection, device=device),
        "z": torch.randn(sequence, device=device),
    }
    exact = {
        "A": -torch.arange(1.0, STATES + 1, device=device).repeat(case.channels, 1),
        "D": torch.randn(case.channels, device=device),
        "delta_bias": bias,
    }
    every = {name: x.to(case.dtype) for name, x in typed.items()} | exact
    used = NAMES if case.everything else NAMES[:6]
    grad = torch.randn(sequence, device=device).to(case.dtype)
    return Problem({name: every[name] for name in used}, case.everything, grad)


def by_autograd(function: Callable[..., Any]) -> Scan:
    def scan(problem: Problem, gradients: bool) -> Tensors:
        if not gradients:
            with torch.no_grad():
                return {"out": function(**problem.tensors, delta_softplus=problem.softplus)}
        leaves = {name: x.detach().requires_grad_() for name, x in problem.tensors.items()}
        out = function(**leaves, delta_softplus=problem.softplus)
        found = torch.autograd.grad(out, list(leaves.values()), problem.grad)
        return {"out": out.detach(), **dict(zip(leaves, found, strict=True))}

    return scan


def with_groups(problem: Problem) -> list[Tensor | None]:
    """All arguments in their order, B and C of four dimensions."""
    given = problem.tensors | {name: problem.tensors[name][:, None] for name in ("B", "C")}
    return [given.get(name) for name in NAMES]


def without_groups(out: Tensor, gradients: dict[str, Tensor | None]) -> Tensors:
    gradients |= {name: gradients[name].squeeze(1) for name in ("B", "C")}
    return {"out": out, **{name: x for name, x in gradients.items() if x is not None}}


def by_kernels(kernels: Any) -> Scan:
    """By one of the modules that the operator chooses from, without the operator around it."""

    def scan(problem: Problem, gradients: bool) -> Tensors:
        inputs = Inputs(*with_groups(problem))
        out, _, states = kernels.forward(inputs, problem.softplus, False, gradients)
        if not gradients:
            return {"out": out}
        found = kernels.backward(problem.grad, None, inputs, states, problem.softplus, False)
        return without_groups(out, dict(zip(NAMES, found[:-1], strict=True)))

    return scan


def kernels_of(device: str) -> Any:
    if device == "cpu":
        return cpu
    from medkit.ops.selective_scan import gpu  # needs Triton

    return gpu


def of_mamba_ssm(problem: Problem, gradients: bool) -> Tensors:
    """The package's kernels without its autograd around them, all arguments given."""
    tensors = with_groups(problem)
    out, states, gated = selective_scan_cuda.fwd(*tensors, problem.softplus)
    if not gradients:
        return {"out": gated}
    found = selective_scan_cuda.bwd(*tensors, problem.grad, states, out, None, problem.softplus, False)
    names = ("u", "delta", "A", "B", "C", "D", "delta_bias", "z")
    return without_groups(gated, dict(zip(names, found, strict=True)))


def of_mambapy(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """The package's scan, which knows of no bias and no gate, with these around it as in its block."""
    if delta_softplus:
        delta = functional.softplus(delta + delta_bias)
    y = MambaBlock.selective_scan(None, u, delta, A, B, C, D)
    return y if z is None else y * functional.silu(z)


def ways(device: str) -> list[Way]:
    """medkit's operator first, then what it is compared with."""
    return [
        Way("medkit", by_autograd(selective_scan)),
        *([Way("mamba-ssm", of_mamba_ssm)] if device == "cuda" else []),
        Way("mambapy", by_autograd(of_mambapy), steps_first=True),
        Way("medkit in PyTorch", by_kernels(chunked)),
        Way("reference", by_autograd(selective_scan_reference)),
        Way("kernels alone", by_kernels(kernels_of(device))),
    ]


def reason_against(way: Way, case: Case, gradients: bool, device: str) -> str | None:
    """Why a way is not tried on a case."""
    if RIVALS.get(way.name, way) is None:
        return "not installed"
    if way.name == "reference" and case.length > (most := STEPS_OF_REFERENCE[gradients]):
        return f"{'gradients' if gradients else 'outputs'} of more than {most} steps take it too long"
    if way.name == "mambapy" and case.dtype != torch.float32:
        return f"it would hold the state in {case.type_name}"
    if way.name == "mambapy":
        arrays = ARRAYS_OF_MAMBAPY[gradients]
        needed = 4 * arrays * case.states
        free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
        if needed > free:
            return f"it takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
    return None


@dataclass(frozen=True)
class Check:
    """A problem with its results in float64."""

    problem: Problem
    exact: Tensors

    def fault(self, way: Way, gradients: bool) -> str | None:
        """What is wrong with the results of a way."""
        tolerance = TOLERANCE[self.problem.grad.dtype]
        for name, got in way.results(self.problem, gradients).items():
            # Written so that a NaN is a fault.
            if not (off := error(got, self.exact[name])) <= tolerance:
                result = "output" if name == "out" else f"gradient by {name}"
                return f"{result} off by {off:.1e} in {self.problem.grad.shape[2]} steps"
        return None


def checks(problem: Problem) -> list[Check]:
    """The first steps beside the reference, and all of them beside medkit's other path in float64."""
    start = problem.each(lambda x: x[..., :CHECKED_STEPS].contiguous() if x.ndim == 3 else x)
    laws = ((start, selective_scan_reference), (problem, selective_scan))
    return [Check(part, by_autograd(law)(part.each(Tensor.double), True)) for part, law in laws]


def error(got: Tensor, exact: Tensor) -> float:
    """Relative to the exact numbers, in the norm or at the worst place, whichever is more."""
    off = got.double() - exact
    return float(torch.stack([off.norm() / exact.norm(), off.abs().max() / exact.abs().max()]).max())
