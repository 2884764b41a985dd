"""Grad-CAM (Selvaraju et al. 2017) by captum: the image regions that support a classifier's prediction."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

from simclr_med.models.encoders import Encoder

SMALLEST = 4  # pixels of a map's side: maps of 1x1 and 2x2 show no regions


def is_captum_installed() -> bool:
    """Return whether the package captum is installed."""
    return importlib.util.find_spec("captum") is not None


def grad_cam(encoder: Encoder, head: nn.Module, images_BCHW: Tensor, targets_B: Tensor) -> tuple[Tensor, str]:
    """Return the heat map of a class for each image, and the name of the layer that it is computed on.

    The layer is the last of the encoder's `feature_map` whose maps have sides of `SMALLEST` pixels or more, or else
    the first. The heat is the ReLU of the sum of its maps, each weighted by the mean gradient of the class's
    logit (equations 1 and 2), divided by the image's largest value.

    Args:
        encoder: images in [0, 1] to features; in eval mode.
        head: features to logits.
        images_BCHW: float32 on the encoder's device.
        targets_B: int64, the class to explain for each image.

    Returns:
        heat_Bhw, float32 in [0, 1] on the CPU, zeros where nothing supports the class; and the layer's name.
    """
    from captum.attr import LayerGradCam

    name = _select_layer(encoder, images_BCHW[:1])
    dtype = next(head.parameters()).dtype

    def compute_logits(images: Tensor) -> Tensor:
        logits: Tensor = head(encoder(images).to(dtype))
        return logits

    with torch.enable_grad():
        images = images_BCHW.detach().requires_grad_()
        cam = LayerGradCam(compute_logits, encoder.get_submodule(name))
        heat: Tensor = cam.attribute(images, targets_B, relu_attributions=True)
    heat_Bhw = heat.detach().float().cpu()[:, 0]
    return heat_Bhw / heat_Bhw.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12), name


@torch.no_grad()
def _select_layer(encoder: Encoder, image_1CHW: Tensor) -> str:
    sides: dict[str, int] = {}
    names = encoder.feature_map()
    hooks = [
        encoder.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, map_1Chw, name=name: sides.update({name: min(map_1Chw.shape[2:])})
        )
        for name in names
    ]
    encoder(image_1CHW)
    for hook in hooks:
        hook.remove()
    return next((name for name in names if sides[name] >= SMALLEST), names[-1])
