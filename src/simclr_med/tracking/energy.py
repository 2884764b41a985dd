"""The energy of a run and the carbon dioxide of its electricity, estimated by codecarbon without a network."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

from simclr_med.errors import ConfigError, RunError

INTERVAL_S = 5.0  # between two readings of the power


def start_energy_meter(country: str) -> Callable[[], dict[str, float]]:
    """Start to measure this process, and return the function that ends the measurement and returns its result.

    The result has ``energy_kwh`` and ``co2e_kg``, the mass of carbon dioxide with an equal effect on the climate. It is
    rough on CPUs: where their power cannot be read, codecarbon takes it from the model's name and the load.

    Args:
        country: where the electricity comes from, by ISO 3166-1 alpha-3, such as ``DEU``.

    Raises:
        ConfigError: codecarbon is not installed, or does not know the country.
    """
    if importlib.util.find_spec("codecarbon") is None:
        raise ConfigError(
            f"trainer.energy={country}: codecarbon is not installed. Run pip install 'simclr-med[energy]'."
        )
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource

    if country not in DataSource().get_global_energy_mix_data():
        raise ConfigError(
            f"trainer.energy={country}: codecarbon has no country with this code. Use one of ISO 3166-1 alpha-3, such "
            "as DEU or USA."
        )
    logging.getLogger("codecarbon").setLevel(logging.ERROR)  # it logs before it reads log_level
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        tracking_mode="process",
        measure_power_secs=INTERVAL_S,
        save_to_file=False,
        allow_multiple_runs=True,
        log_level="error",
    )
    tracker.start()

    def stop() -> dict[str, float]:
        tracker.stop()
        found = getattr(tracker, "final_emissions_data", None)
        if found is None:
            raise RunError(f"trainer.energy={country}: codecarbon measured nothing. Repeat without trainer.energy.")
        return {"energy_kwh": float(found.energy_consumed), "co2e_kg": float(found.emissions)}

    return stop
