"""The encoder of a run: an option of conf/encoder, its initial weights and their source in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from simclr_med import build
from simclr_med.augment.sequence import Sequence
from simclr_med.config.channel_rules import RGB, input_channels
from simclr_med.config.schema import Config
from simclr_med.data.source import Source
from simclr_med.errors import ConfigError
from simclr_med.models.encoder_files import load_encoder_state, load_weights
from simclr_med.models.encoders import Encoder, is_encoder, set_option
from simclr_med.models.imagenet import download_weights
from simclr_med.models.speed import apply_speedups
from simclr_med.runs.file_hashes import verify_files
from simclr_med.runs.identity import Init
from simclr_med.runs.names import shown_path
from simclr_med.runs.run import Run
from simclr_med.stages.saved_run import check_targets
from simclr_med.streams import Stream


def build_network(
    node: Mapping[str, Any], seed: int, recorded: Mapping[str, Any] = MappingProxyType({}), speedups: bool = True
) -> Encoder:
    """Build the encoder of an option of ``conf/encoder``, with random weights of a seed.

    Args:
        node: the option's keys.
        seed: of the weights.
        recorded: values of a saved run, used instead of the option's own (`simclr_med.config.options`).
        speedups: whether to apply them (`simclr_med.models.speed`).

    Raises:
        ConfigError: the option's target does not return an `Encoder`.
    """
    own = {key: value for key, value in node.items() if key not in recorded}
    with seeded_init(seed, Stream.ENCODER):
        encoder = build.instantiate_partial(own)(**recorded)
    if not is_encoder(encoder):
        raise ConfigError(
            f"encoder={node['name']}: {node['_target_']} returns no encoder. Return a module with the attributes and "
            "methods of simclr_med.models.encoders.Encoder."
        )
    set_option(encoder, {**node, **recorded})
    if speedups:
        apply_speedups(encoder)
    return encoder


def build_encoder(run: Run[Config[Any]], announce: bool = True) -> tuple[Encoder, str]:
    """Return the encoder at the run's first step, and where its weights come from, in words.

    Args:
        run: whose config names the encoder.
        announce: print what the encoder says of its images, if anything.
    """
    if run.init.run is not None:
        check_targets(run.init.run, run.cfg.allow_code)
    encoder = build_network(run.plain.encoder, run.cfg.seed if run.init.seed is None else run.init.seed)
    if announce and getattr(encoder, "note", None):
        print(f"Encoder: {encoder.note}", flush=True)  # type: ignore[attr-defined]
    return encoder, load_initial_weights(encoder, run.init)


def load_initial_weights(encoder: Encoder, init: Init) -> str:
    """Load an encoder's initial weights, in place, and return where they come from, in words.

    Raises:
        CheckpointError: the file does not fit, is damaged, or has changed since its run finished.
    """
    if init.path is None:
        return f"random weights of seed {init.seed}"
    if init.url is not None:
        download_weights(init.url, init.path)
    note = None if init.run is None else verify_files(init.run, "config.yaml", init.path.name)
    if note:
        print(note, flush=True)
    loaded = load_encoder_state(init.path, getattr(encoder, "recognize_state", None))
    load_weights(encoder, loaded)
    return f"{loaded.network} from {loaded.kind} {shown_path(loaded.path)}"


def check_channels(cfg: Config[Any], source: Source) -> None:
    """Check that the config's encoder takes the images of a data set.

    Raises:
        ConfigError: it takes images with another number of channels.
    """
    found, taken = source.channels, input_channels(cfg.encoder)
    if found == taken or {found, taken} == {1, RGB}:
        return
    has_key = hasattr(cfg.encoder, "in_channels")
    where = f"encoder.in_channels={taken}" if has_key else f"encoder={cfg.encoder.name}"
    advice = f"Add {'' if has_key else 'encoder=resnet18 '}encoder.in_channels={found}"
    if found in (1, RGB):
        advice = "Remove it"
    elif found == RGB + 1:
        advice += ", or save RGB images without transparency: images[..., :3]"
    raise ConfigError(f"{where}: dataset={source.name} has images with {found} channel{'s' * (found > 1)}. {advice}.")


def build_sequence(cfg: Config[Any], source: Source) -> Sequence:
    """Build the augmentation of a run.

    Raises:
        ConfigError: one of its ops needs colours, and the images have none.
    """
    sequence: Sequence = build.instantiate_node(cfg.augmentation)
    if source.channels not in (1, RGB) and sequence.colour_ops:
        raise ConfigError(
            f"augmentation={cfg.augmentation.name}: expected RGB images for {', '.join(sequence.colour_ops)}, found "
            f"{source.channels} channels. Use augmentation=channels, light or crop_flip."
        )
    return sequence


@contextmanager
def seeded_init(seed: int, stream: int) -> Iterator[None]:
    """Make weights initialised inside a function of (seed, stream); restore torch's global generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1))
        yield
