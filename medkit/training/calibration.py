"""The temperature that makes a bundle's probabilities honest, and what it gains on cases that it was not fitted to.

The prediction alone chooses the voxels that are fitted to, and those to judge by: probabilities that are right as
often as they say are so over any voxels that are chosen by them. They need not be so near a boundary of the reference,
where more goes wrong than anybody could foresee, the more so the less is known of where the boundary runs; there a
wrong temperature can look like a gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from medkit.errors import UsageError
from medkit.metrics.calibration import BINS, expected_calibration_error, near_boundary
from medkit.training.run import fold_name
from medkit.transforms.calibration import at_boundary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from medkit.bundle.instance import ConfigInstance
    from medkit.training.run import TrainingRun

__all__ = ["SEARCHED", "HeldOut", "calibrate", "cross_fitted_calibration", "fit_temperature"]

WITHIN_VOXELS = 2  # of a boundary: there the errors are taken
SEARCHED = 0.1, 10.0  # temperatures


class HeldOut(NamedTuple):
    """What one fold's network says of voxels near boundaries in cases that it never saw.

    Args:
        logits: ``(N, C)``, float32.
        labels: ``(N,)``, true classes.
        drawn: ``(N,)``, whether they lie at a boundary that the network draws: these are softened.
        near_drawn: ``(N,)``, whether they lie near such a boundary.
        near_reference: ``(N,)``, whether they lie near a boundary of the reference.
    """

    logits: Tensor
    labels: Tensor
    drawn: Tensor
    near_drawn: Tensor
    near_reference: Tensor


def calibrate(run: TrainingRun) -> dict[str, Any]:
    """Fit a temperature to a cross-validated run.

    Args:
        run: finished, its networks by fold.

    Returns:
        See :func:`cross_fitted_calibration`.

    Raises:
        UsageError: the config's parts cannot be built, or the networks draw no boundary.
    """
    folds = [fold for fold in run.folds if fold is not None]
    return cross_fitted_calibration([_held_out(run, fold) for fold in folds])


def cross_fitted_calibration(folds: Sequence[HeldOut]) -> dict[str, Any]:
    """The temperature of all folds, and errors of each fold under the temperature of the others.

    That is cross-fitting, not a nested cross-validation: the networks whose held-out cases give a fold its temperature
    were trained on this very fold. A nested one would train other networks, without it, for every fold's temperature.

    Args:
        folds: two or more.

    Returns:
        ``temperature`` for :class:`medkit.transforms.calibration.SoftBoundaries`; and over the ``voxels``
        ``near_drawn`` and ``near_reference`` boundaries, pooled, the expected calibration error (``ece``) and the
        negative log-likelihood (``nll``) as they are and with the temperatures of ``folds``, each of which was fitted
        to the other folds. Go by those near drawn boundaries, for the reason above.

    Raises:
        UsageError: no boundary is drawn.
    """
    inner = [fit_temperature([other for other in folds if other is not fold]) for fold in folds]
    return {
        "temperature": round(fit_temperature(folds), 4),
        "within_voxels": WITHIN_VOXELS,
        "bins": BINS,
        "folds": [round(t, 4) for t in inner],
        "near_drawn": _compared(folds, inner, [fold.near_drawn for fold in folds]),
        "near_reference": _compared(folds, inner, [fold.near_reference for fold in folds]),
    }


def fit_temperature(folds: Sequence[HeldOut]) -> float:
    """The number that makes the labels likeliest when logits at drawn boundaries are divided by it.

    Guo et al. 2017, section 4.2 (https://arxiv.org/abs/1706.04599), at boundaries only.

    Returns:
        From 0.1 to 10: a network whose logits tell nothing has none, and gets the last.

    Raises:
        UsageError: no boundary is drawn.
    """
    logits = torch.cat([fold.logits[fold.drawn] for fold in folds]).double()
    labels = torch.cat([fold.labels[fold.drawn] for fold in folds])
    if not len(labels):
        raise UsageError(
            "expected networks that draw a boundary in held-out cases, to fit a temperature there, got one label for "
            "all voxels; train for longer"
        )

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits / np.exp(log_temperature), labels))

    found = minimize_scalar(loss, bounds=np.log(SEARCHED), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _softened(fold: HeldOut, temperature: float) -> Tensor:
    return torch.where(fold.drawn[:, None], fold.logits / temperature, fold.logits)


def _compared(
    folds: Sequence[HeldOut], temperatures: Sequence[float], chosen: Sequence[Tensor]
) -> dict[str, Any]:
    """Errors over the chosen voxels of each fold as they are, and with its temperature."""
    labels = torch.cat([fold.labels[mask] for fold, mask in zip(folds, chosen, strict=True)])
    before = torch.cat([fold.logits[mask] for fold, mask in zip(folds, chosen, strict=True)])
    after = torch.cat(
        [_softened(fold, t)[mask] for fold, t, mask in zip(folds, temperatures, chosen, strict=True)]
    )
    return {"voxels": len(labels), "before": _errors(before, labels), "after": _errors(after, labels)}


def _errors(logits: Tensor, labels: Tensor) -> dict[str, float]:
    ece = expected_calibration_error(logits.softmax(1).numpy(), labels.numpy())
    return {"ece": round(ece, 4), "nll": round(float(functional.cross_entropy(logits, labels)), 4)}


def _held_out(run: TrainingRun, fold: int) -> HeldOut:
    config = run.config(fold)
    network, inferer = config.build("network"), config.build("inferer")
    state = torch.load(run.folder / fold_name(fold) / "model.pt", weights_only=True)
    network.load_state_dict(state)
    network.eval()
    with torch.no_grad():
        found = [
            _near_boundaries(item, network, inferer, config) for item in config.build("validate::dataset")
        ]
    return HeldOut(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _near_boundaries(item: dict[str, Any], network: Any, inferer: Any, config: ConfigInstance) -> HeldOut:
    device = config.build("device")
    logits = inferer(item["image"][None].to(device), network)[0].float().cpu()
    labels = item["label"][0].round().long().cpu()
    predicted = logits.argmax(0)
    near_drawn, near_reference = (
        torch.from_numpy(near_boundary(map_.numpy(), WITHIN_VOXELS)) for map_ in (predicted, labels)
    )
    # What is at a boundary is near it: its next voxel of another label is the cube's corner at most, 1.73 voxels away.
    kept = near_drawn | near_reference
    masks = (mask[kept] for mask in (at_boundary(predicted), near_drawn, near_reference))
    return HeldOut(logits[:, kept].T.contiguous(), labels[kept], *masks)
