"""Compare the batched augmentations with PIL, op by op and sequence by sequence, on real images.

    python benchmarks/parity.py DATA.npz [--images N] [--split train] [--seed 0]

DATA.npz has MedMNIST's layout. Both sides get the same sampled parameters. Deviations are in 1/255 after rounding. An
op is compared on PIL's own intermediate image; a whole sequence is compared on its result.

The sequences are those of conf/augmentation. The reference of an op is the function `pil_<op>(image, *parameters)` for
one PIL image, in this file or in the op's own module. An op without a reference is listed and not compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from simclr_med.augment.color import BRIGHTNESS, CONTRAST, HUE, SATURATION
from simclr_med.augment.filters import compute_kernel_width
from simclr_med.augment.op import Op, Parameters
from simclr_med.augment.sequence import Sequence, to_float
from simclr_med.build import instantiate_node

CONF = Path(__file__).parents[1] / "conf" / "augmentation"


def pil_horizontal_flip(image: Image.Image, flipped: Tensor) -> Image.Image:
    return ImageOps.mirror(image) if flipped else image


def pil_vertical_flip(image: Image.Image, flipped: Tensor) -> Image.Image:
    return ImageOps.flip(image) if flipped else image


def pil_right_angle_rotation(image: Image.Image, quarters: Tensor) -> Image.Image:
    return image.rotate(90 * int(quarters), expand=True)


def pil_rotation(image: Image.Image, rotated: Tensor, angle: Tensor) -> Image.Image:
    if not rotated:
        return image
    size, pad = [image.height, image.width], min(image.size) - 1
    padded = tv.pad(image, [pad], padding_mode="reflect")
    return tv.center_crop(tv.rotate(padded, float(angle), InterpolationMode.BILINEAR), size)


def pil_random_resized_crop(
    image: Image.Image, top: Tensor, left: Tensor, rows: Tensor, columns: Tensor, size: int | None
) -> Image.Image:
    target = [image.height, image.width] if size is None else [size, size]
    return tv.resized_crop(image, int(top), int(left), int(rows), int(columns), target, InterpolationMode.BILINEAR)


def pil_color_jitter(image: Image.Image, active: Tensor, order: Tensor, factors: Tensor) -> Image.Image:
    if not active:
        return image
    for operation in order.tolist():
        image = PIL_COLOR[operation](image, float(factors[operation]))
    return image


def pil_random_grayscale(image: Image.Image, grey: Tensor) -> Image.Image:
    return image.convert("L").convert("RGB") if grey else image


def pil_channel_jitter(image: Image.Image, active: Tensor, brightness: Tensor, contrast: Tensor) -> Image.Image:
    if not active:
        return image
    parts = [ImageEnhance.Brightness(part).enhance(float(brightness)) for part in image.split()]
    return Image.merge(image.mode, [ImageEnhance.Contrast(part).enhance(float(contrast)) for part in parts])


def pil_solarize(image: Image.Image, solarized: Tensor, threshold: int) -> Image.Image:
    return ImageOps.solarize(image, threshold) if solarized else image


def pil_gaussian_blur(
    image: Image.Image,
    blurred: Tensor,
    sigma: Tensor,
    kernel_per_side: float,
    reference_side: int | None,
    above_side: int,
) -> Image.Image:
    side = min(image.size)
    if not blurred or side <= above_side:
        return image
    scale = 1.0 if reference_side is None else side / reference_side
    return tv.gaussian_blur(image, [compute_kernel_width(kernel_per_side, side)] * 2, [float(sigma) * scale] * 2)


def pil_equalize(image: Image.Image, equalized: Tensor) -> Image.Image:
    if not equalized:
        return image
    luma, blue, red = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (ImageOps.equalize(luma), blue, red)).convert("RGB")


def pil_sharpness(image: Image.Image, factor: Tensor) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(float(factor))


def hash_pixels(number: Tensor, image: Image.Image) -> np.ndarray:
    """Return the 32 bits of each pixel, uint32 [H, W], in the arithmetic of 32-bit words."""
    place = np.arange(image.height * image.width, dtype=np.uint32).reshape(image.height, image.width)
    bits = place * np.uint32(0x9E3779B1) + np.uint32(int(number))
    bits = (bits ^ bits >> np.uint32(16)) * np.uint32(0x21F0AAAD)
    bits = (bits ^ bits >> np.uint32(15)) * np.uint32(0x735A2D97)
    return np.asarray(bits ^ bits >> np.uint32(15))


def pil_gaussian_noise(image: Image.Image, noisy: Tensor, std: Tensor, number: Tensor) -> Image.Image:
    if not noisy:
        return image
    bits = hash_pixels(number, image)
    radius = np.sqrt(-2 * np.log(((bits >> 16) + 0.5) / 2**16))
    noise = float(std) * 255 * radius * np.cos(2 * np.pi * (bits & 0xFFFF) / 2**16)
    return Image.fromarray((np.array(image) + noise[..., None]).round().clip(0, 255).astype(np.uint8))


def pil_random_erasing(
    image: Image.Image, erased: Tensor, top: Tensor, left: Tensor, rows: Tensor, columns: Tensor, number: Tensor
) -> Image.Image:
    if not erased:
        return image
    box = (slice(int(top), int(top) + int(rows)), slice(int(left), int(left) + int(columns)))
    levels = torch.from_numpy((hash_pixels(number, image) >> 24).astype(np.uint8)[box])
    filled = tv.erase(tv.pil_to_tensor(image), int(top), int(left), int(rows), int(columns), levels.expand(3, -1, -1))
    return tv.to_pil_image(filled)


PIL_COLOR: dict[int, Callable[[Image.Image, float], Image.Image]] = {
    BRIGHTNESS: tv.adjust_brightness,
    CONTRAST: tv.adjust_contrast,
    SATURATION: tv.adjust_saturation,
    HUE: tv.adjust_hue,
}


def find_pil_reference(op: Op) -> Callable[..., Image.Image] | None:
    """Return the function `pil_<op>` of this file or of the op's own module; None if there is no PIL reference."""
    op_module = sys.modules[getattr(op.apply, "func", op.apply).__module__]
    for module in (sys.modules[__name__], op_module):
        reference: Callable[..., Image.Image] | None = getattr(module, f"pil_{op.name}", None)
        if reference is not None:
            return reference
    return None


def apply_pil(op: Op, images_BHWC: Tensor, parameters: Parameters) -> Tensor:
    """Apply the op's PIL reference to uint8 images [B, H, W, 3], one by one; the result is uint8 [B, H', W', 3]."""
    reference = find_pil_reference(op)
    if reference is None:
        raise ValueError(f"op={op.name}: no PIL reference. Define pil_{op.name} beside the op.")
    keywords: dict[str, Any] = getattr(op.apply, "keywords", {})
    return torch.stack(
        [
            torch.from_numpy(np.array(reference(Image.fromarray(image), *row, **keywords)))
            for image, *row in zip(images_BHWC.numpy(), *parameters, strict=True)
        ]
    )


def compute_deviation(images_BCHW: Tensor, reference_BHWC: Tensor) -> Tensor:
    """Return |ours - PIL's| of each pixel in 1/255 after rounding."""
    levels = images_BCHW.mul(255.0).round().permute(0, 2, 3, 1)
    return (levels - reference_BHWC.float()).abs()


def list_sequences() -> list[str]:
    """Return the names of all options in conf/augmentation, sorted."""
    return sorted(path.stem for path in CONF.glob("*.yaml"))


def load_sequence(name: str) -> Sequence:
    """Build the sequence of one option in conf/augmentation."""
    cfg = OmegaConf.create({"dataset": {"mirror_p": 0.5}, "augmentation": OmegaConf.load(CONF / f"{name}.yaml")})
    sequence: Sequence = instantiate_node(cfg.augmentation)
    return sequence


def format_row(label: str, values: Tensor) -> str:
    """Return one line of the table: the label, then the largest, the mean and the 99.9 % deviation."""
    array = values.numpy()
    return f"{label:<34}{array.max():>9.0f}{array.mean():>9.3f}{np.quantile(array, 0.999):>9.1f}"


def compare_colors(name: str, op: Op, images_BHWC: Tensor, parameters: Parameters) -> None:
    """Print one line for each of the jitter's four operations, applied alone to the active images."""
    active, order, factors = parameters
    images_BHWC, order, factors = images_BHWC[active], order[active], factors[active]
    images_BCHW = to_float(images_BHWC)
    for operation, pil_color in PIL_COLOR.items():
        alone = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(factors), 1)  # every other operation is the identity
        alone[:, operation] = factors[:, operation]
        ours = op.apply(images_BCHW, active[active], order, alone)
        theirs = [
            torch.from_numpy(np.array(pil_color(Image.fromarray(image), float(factor))))
            for image, factor in zip(images_BHWC.numpy(), factors[:, operation], strict=True)
        ]
        print(format_row(f"{name}: {pil_color.__name__} alone", compute_deviation(ours, torch.stack(theirs))))


def compare(name: str, images_BHWC: Tensor, seed: int) -> None:
    """Print one line per op and one for the whole sequence, up to the first op without a PIL reference."""
    sequence = load_sequence(name)
    reference = images_BHWC.expand(-1, -1, -1, 3).contiguous()
    images_BCHW = to_float(images_BHWC)
    count, height, width = reference.shape[:3]
    parameters = sequence.sample(count, height, width, torch.Generator().manual_seed(seed))
    whole = sequence(images_BCHW, parameters)
    for op, values in zip(sequence.ops, parameters, strict=True):
        if find_pil_reference(op) is None:
            label = f"{name}: {op.name}"
            print(f"{label:<34}no PIL reference; the rest of the sequence is not compared")
            return
        if op.name == "color_jitter":
            compare_colors(name, op, reference, values)
        ours = op.apply(to_float(reference), *values)
        reference = apply_pil(op, reference, values)
        print(format_row(f"{name}: {op.name}", compute_deviation(ours, reference)))
    print(format_row(f"{name}: whole sequence", compute_deviation(whole, reference)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="an .npz in MedMNIST's layout")
    parser.add_argument("--images", type=int, default=1000, help="number of images (default 1000)")
    parser.add_argument("--split", default="train", choices=("train", "val", "test"))
    parser.add_argument("--seed", type=int, default=0, help="of the sampled parameters (default 0)")
    arguments = parser.parse_args()
    with np.load(arguments.data, allow_pickle=False) as data:
        array = data[f"{arguments.split}_images"][: arguments.images]
    images_BHWC = torch.from_numpy(array if array.ndim == 4 else array[..., None])
    print(f"{arguments.data.name}, {len(array)} {arguments.split} images of {array.shape[1]} x {array.shape[2]} px")
    print(f"{'deviation from PIL in 1/255':<34}{'largest':>9}{'mean':>9}{'99.9 %':>9}")
    for name in list_sequences():
        compare(name, images_BHWC, arguments.seed)


if __name__ == "__main__":
    main()
