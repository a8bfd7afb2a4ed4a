"""The part of ``ops.py`` on the Haar transform and its inverse: from a tensor to a new one."""

from collections.abc import Callable
from itertools import product

import torch
from timing import least_seconds, note
from torch import Tensor
from torch.nn import functional

from medkit.ops.haar import haar_dwt, haar_idwt, reference

try:
    import ptwt
except ImportError:
    ptwt = None

SHAPE = (1, 8, 128, 128, 128)
OTHERS = [
    ((1, 8, 32, 32, 32), torch.float32),
    ((1, 8, 64, 64, 64), torch.float32),
    ((1, 1, 240, 240, 155), torch.float32),
    ((1, 8, 127, 127, 127), torch.float32),
    ((8, 8, 512, 512), torch.float32),
    ((1, 8, 128, 128, 128), torch.bfloat16),
    ((1, 8, 128, 128, 128), torch.float16),
    ((1, 8, 128, 128, 128), torch.float64),
]
LEGEND = (
    "Forward and inverse; eager unless said otherwise. Of the two copies, as much memory read and written, one goes to "
    "memory that is there already, the other, as every way here, to new memory, which the system has to hand out and to "
    "clear."
)

# A way: forward, inverse, and what puts the sub-bands of the first into medkit's order.
Way = tuple[Callable[[Tensor], object], Callable[[object], Tensor], Callable[[object], Tensor]]


def as_they_are(bands: Tensor) -> Tensor:
    return bands


def filters(x: Tensor) -> Tensor:
    """``(8, 1, 2, 2, 2)``: the filter of each sub-band."""
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], device=x.device, dtype=x.dtype) / 2**0.5
    return torch.einsum("ai,bj,ck->abcijk", pair, pair, pair).reshape(8, 1, 2, 2, 2)


def convolution(x: Tensor) -> Way:
    batch, channels = x.shape[:2]
    weight = filters(x)

    def forward(x: Tensor) -> Tensor:
        return functional.conv3d(x.flatten(0, 1).unsqueeze(1), weight, stride=2)

    def inverse(bands: Tensor) -> Tensor:
        return functional.conv_transpose3d(bands, weight, stride=2).view(x.shape)

    def in_order(bands: Tensor) -> Tensor:
        return bands.unflatten(0, (batch, channels)).transpose(1, 2).flatten(1, 2)

    return forward, inverse, in_order


def multiplication(x: Tensor) -> Way:
    """Every group of eight neighbours times a matrix of 8 by 8."""
    batch, channels, *sizes = x.shape
    halves = [size // 2 for size in sizes]
    matrix = filters(x).view(8, 8)

    def forward(x: Tensor) -> Tensor:
        groups = x.view(batch, channels, halves[0], 2, halves[1], 2, halves[2], 2).permute(
            0, 3, 5, 7, 1, 2, 4, 6
        )
        return (matrix @ groups.reshape(batch, 8, -1)).view(batch, 8 * channels, *halves)

    def inverse(bands: Tensor) -> Tensor:
        groups = (matrix.T @ bands.view(batch, 8, -1)).view(batch, 2, 2, 2, channels, *halves)
        return groups.permute(0, 4, 5, 1, 6, 2, 7, 3).reshape(x.shape)

    return forward, inverse, as_they_are


def of_ptwt() -> Way:
    names = ["".join(letters) for letters in product("ad", repeat=3)]

    def in_order(levels: object) -> Tensor:
        low, high = levels
        return torch.cat([low, *(high[name] for name in names[1:])], dim=1)

    return (
        lambda x: ptwt.wavedec3(x, "haar", mode="zero", level=1),
        lambda levels: ptwt.waverec3(levels, "haar"),
        in_order,
    )


def ways(x: Tensor) -> dict[str, Way]:
    size = x.shape[2:]
    compiled = (
        torch.compile(reference.haar_dwt),
        torch.compile(lambda bands: reference.haar_idwt(bands, size)),
    )
    found: dict[str, Way] = {
        "medkit": (haar_dwt, haar_idwt, as_they_are),
        "slices (medkit's reference)": (
            reference.haar_dwt,
            lambda b: reference.haar_idwt(b, size),
            as_they_are,
        ),
        "slices, torch.compile": (*compiled, as_they_are),
        "conv3d": convolution(x),
        "matrix product": multiplication(x),
    }
    if ptwt is not None:
        found["ptwt"] = of_ptwt()
    return found


def fault(x: Tensor, way: Way) -> str | None:
    """What is wrong with a way, against the plain form in float64."""
    forward, inverse, in_order = way
    bands = forward(x)
    expected = reference.haar_dwt(x.double())
    got = in_order(bands).double()
    tolerance = 8 * torch.finfo(x.dtype).eps * float(expected.abs().max())
    if got.shape != expected.shape:
        return f"sub-bands of shape {tuple(got.shape)}, not {tuple(expected.shape)}"
    # Written so that a NaN is a fault.
    if not (error := float((got - expected).abs().max())) <= tolerance:
        return f"sub-bands off by {error:.1e}"
    if not (error := float((inverse(bands).double() - x.double()).abs().max())) <= tolerance:
        return f"inverse off by {error:.1e}"
    return None


def copies(x: Tensor) -> dict[str, Callable[[], object]]:
    """As much memory read and written as by the transform and its inverse."""
    there = torch.empty_like(x)
    return {
        "copy, twice": lambda: (there.copy_(x), there.copy_(x)),
        "copy to new memory, twice": lambda: x.clone().clone(),
    }


def compare_ways(x: Tensor, rounds: int, device: str) -> tuple[list[str], list[str]]:
    """Rows of the table, and faults."""
    found = ways(x)
    faults = {name: wrong for name, way in found.items() if (wrong := fault(x, way))}
    right = {name: way for name, way in found.items() if name not in faults}
    runs = {name: lambda way=way: way[1](way[0](x)) for name, way in right.items()}
    times = least_seconds({**copies(x), **runs}, rounds, device)
    base, new = times["copy, twice"], times["copy to new memory, twice"]
    rows = ["| way | against a copy | against a copy to new memory | ms |", "|---|---|---|---|"]
    rows += [f"| {name} | {t / base:.2f} | {t / new:.2f} | {1e3 * t:.2f} |" for name, t in times.items()]
    rows += [f"| {name} | wrong: {wrong} | | |" for name, wrong in faults.items()]
    return rows, [f"{name}: {wrong}" for name, wrong in faults.items()]


def compare_shapes(rounds: int, device: str) -> tuple[list[str], list[str]]:
    """medkit and its reference on other shapes and types."""
    rows = ["| shape, type | against a copy | against a copy to new memory | against slices | ms |"]
    rows += ["|---|---|---|---|---|"]
    faults = []
    for shape, dtype in OTHERS:
        x = torch.randn(shape, device=device).to(dtype)
        name = f"{' x '.join(map(str, shape))}, {str(dtype).removeprefix('torch.')}"
        ours: Way = haar_dwt, lambda bands, x=x: haar_idwt(bands, x.shape[2:]), as_they_are
        if wrong := fault(x, ours):
            faults.append(f"{name}: {wrong}")
            rows.append(f"| {name} | wrong: {wrong} | | | |")
            continue
        runs = {
            "ours": lambda x=x, ours=ours: ours[1](haar_dwt(x)),
            "slices": lambda x=x: reference.haar_idwt(reference.haar_dwt(x), x.shape[2:]),
        }
        times = least_seconds({**copies(x), **runs}, rounds, device)
        ratios = " | ".join(
            f"{times['ours'] / times[other]:.2f}"
            for other in ("copy, twice", "copy to new memory, twice", "slices")
        )
        rows.append(f"| {name} | {ratios} | {1e3 * times['ours']:.3f} |")
    return rows, faults


def section(rounds: int, device: str) -> tuple[list[str], list[str]]:
    """Paragraphs of the document, and what is wrong."""
    note("Haar")
    x = torch.randn(SHAPE, device=device)
    first, wrong = compare_ways(x, rounds, device)
    second, also_wrong = compare_shapes(rounds, device)
    return [
        "## Haar transform",
        LEGEND,
        f"### {' x '.join(map(str, SHAPE))}, float32, {x.nbytes / 2**20:.0f} MiB",
        "\n".join(first),
        "### medkit on other shapes and types",
        "\n".join(second),
    ], wrong + also_wrong
