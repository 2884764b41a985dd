"""Where a classifier looks: Grad-CAM (Selvaraju et al. 2017) by captum."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

SMALLEST = 4  # pixels of a map's side: on 1x1 and 2x2 maps nothing is to be seen


def is_captum_installed() -> bool:
    """Whether the package captum is installed."""
    return importlib.util.find_spec("captum") is not None


def grad_cam(encoder: nn.Module, head: nn.Module, images_BCHW: Tensor, targets_B: Tensor) -> tuple[Tensor, str]:
    """What speaks for an answer, on the map of the last stage whose maps are not smaller than `SMALLEST`.

    ReLU of the maps' sum, each weighted by the mean gradient of the answer's logit (equations 1 and 2), over the
    largest value of the image.

    Args:
        encoder: a ResNet, images in [0, 1] to features; in eval mode.
        head: features to logits.
        images_BCHW: float32 on the encoder's device.
        targets_B: int64, the answer that is asked about, of each image.

    Returns:
        heat_Bhw, float32 in [0, 1] on the CPU; zeros where nothing speaks for the answer. And the stage's name.
    """
    from captum.attr import LayerGradCam

    layer, name = _stage(encoder, images_BCHW[:1])
    dtype = next(head.parameters()).dtype

    def logits(images: Tensor) -> Tensor:
        answers: Tensor = head(encoder(images).to(dtype))
        return answers

    with torch.enable_grad():
        given = images_BCHW.detach().requires_grad_()
        heat: Tensor = LayerGradCam(logits, layer).attribute(given, targets_B, relu_attributions=True)
    heat_Bhw = heat.detach().float().cpu()[:, 0]
    return heat_Bhw / heat_Bhw.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12), name


@torch.no_grad()
def _stage(encoder: nn.Module, image_1CHW: Tensor) -> tuple[nn.Module, str]:
    sides: dict[str, int] = {}
    names = ("layer1", "layer2", "layer3", "layer4")
    hooks = [
        encoder.get_submodule(name).register_forward_hook(
            lambda _module, _given, map_1Dhw, name=name: sides.update({name: min(map_1Dhw.shape[2:])})
        )
        for name in names
    ]
    encoder(image_1CHW)
    for hook in hooks:
        hook.remove()
    name = next((name for name in reversed(names) if sides[name] >= SMALLEST), names[0])
    return encoder.get_submodule(name), name
