"""The rules about the channels of images: an encoder's means, and what needs grey or RGB images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simclr_med.config.bounds import is_finite
from simclr_med.config.schema import Config, ResNet, Timm, TinyEncoder

RGB = 3  # input channels of an encoder of grey and RGB images


def input_channels(encoder: Any) -> int:
    """Return the channels of the images that an option of the group encoder takes; 3 for one without such a key."""
    channels = getattr(encoder, "in_channels", RGB)
    return channels if isinstance(channels, int) else RGB


def broken_channel_rules(cfg: Config[Any]) -> Iterator[str]:
    """Yield a sentence for each broken rule."""
    yield from _statistics(cfg.encoder)
    channels = input_channels(cfg.encoder)
    if channels != RGB and cfg.init.name in ("imagenet", "timm"):
        yield (
            f"init={cfg.init.name}: its weights take RGB images, and encoder.in_channels={channels}. Use init=random "
            "or init=pretrained."
        )


def _statistics(encoder: Any) -> Iterator[str]:
    """Yield a sentence for a mean or standard deviation that does not fit the channels."""
    if not isinstance(encoder, (ResNet, TinyEncoder, Timm)):
        return
    channels = input_channels(encoder)
    for key, values in {"mean": encoder.mean, "std": encoder.std}.items():
        if values is None:
            continue  # the model's own
        if not all(map(is_finite, values)):
            continue  # reported as out of bounds
        fits = len(values) == channels or (channels != RGB and len(set(values)) == 1)
        if not fits or (key == "std" and min(values) <= 0):
            numbers = f"{'three' if channels == RGB else channels} finite numbers{' > 0' if key == 'std' else ''}"
            each = "of R, G, B" if channels == RGB else "channel"
            yield (
                f"encoder.{key}={list(values)}: expected {numbers}, one for each {each}. Leave encoder.{key} out to "
                "use its default."
            )
