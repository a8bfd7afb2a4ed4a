"""The networks that `segmenters.py` compares, in sizes of about as many parameters as the bundle's U-Net has."""

from typing import Any, NamedTuple

from torch import nn

from medkit.networks import create

# The U-Net of `hippocampus_segmentation_unet`, by which the sizes of the others are chosen; and medkit's own.
MEASURE, DEFAULT = "dynunet", "scan_unet"
_TWIN = ", no scan"


# What does not come in the size of the others, and why.
LARGER = {"swin_unetr": "its width is a multiple of 12, and most of its parameters are its decoder's"}


class Network(NamedTuple):
    """A name that `medkit.networks.create` knows, and arguments other than dimensions and channels."""

    name: str
    arguments: dict[str, Any]


_EIGHTH = {"strides": [2, 2, 2]}
_PLAIN = {
    "agunet": Network("agunet", {"filters": [16, 32, 64, 118], **_EIGHTH}),
    "attention_unet": Network("attention_unet", {"channels": [16, 32, 64, 124], **_EIGHTH}),
    "daunet": Network("daunet", {"filters": [16, 32, 64, 72], **_EIGHTH}),
    "dynunet": Network(
        "dynunet",
        {
            "kernel_size": [3, 3, 3, 3],
            "strides": [1, 2, 2, 2],
            "upsample_kernel_size": [2, 2, 2],
            "filters": [16, 32, 64, 128],
            "norm_name": "instance",
            "res_block": True,
        },
    ),
    "mednext": Network("mednext", {"init_filters": 16, "kernel_size": 3}),
    "segresnet": Network("segresnet", {"init_filters": 8, "blocks_down": [1, 2, 2, 5]}),
    "subvoxel_unet": Network("subvoxel_unet", {"filters": [16, 32, 64, 128], **_EIGHTH}),
    "swin_unetr": Network("swin_unetr", {"feature_size": 12, "depths": [1, 1, 1, 1]}),
    "unet": Network("unet", {"channels": [16, 32, 72, 144], "num_res_units": 2, **_EIGHTH}),
}
_SCANNING = {
    "lightnet": Network("lightnet", {"filters": [36, 72, 108]}),
    "mobile_mamba": Network("mobile_mamba", {"filters": [36, 68, 100]}),
    "scan_unet": Network("scan_unet", {"filters": [16, 32, 64, 116], **_EIGHTH}),
    "segmamba": Network("segmamba", {"filters": [16, 32, 48, 80], "depth": 1, **_EIGHTH}),
    "umamba bot": Network("umamba", {"filters": [16, 32, 64, 118], "variant": "bot", **_EIGHTH}),
    "umamba enc": Network("umamba", {"filters": [16, 32, 64, 116], "variant": "enc", **_EIGHTH}),
}
# What each state-space network is compared with: itself without its scan, as wide as makes up for the parameters.
TWINS = {label: label + _TWIN for label in _SCANNING}
NETWORKS = _PLAIN | {
    key: Network(network.name, {**network.arguments, "scan": scan})
    for label, network in _SCANNING.items()
    for key, scan in ((label, True), (TWINS[label], False))
}


def definition(label: str, *, spatial_dims: int, in_channels: int, out_channels: int) -> dict[str, Any]:
    """Arguments of `medkit.networks.create`."""
    name, arguments = NETWORKS[label]
    shape = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return {"name": name, **shape, **arguments}


def build(label: str, *, spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    return create(
        **definition(label, spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels)
    )


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
