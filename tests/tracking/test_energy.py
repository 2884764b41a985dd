"""Energy of a run: measured only when asked, with a stand-in for codecarbon."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from simclr_med.errors import ConfigError, RunError
from simclr_med.tracking.energy import start_energy_meter


class Tracker:
    """Counts its calls as codecarbon's tracker would measure."""

    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")
        self.final_emissions_data = SimpleNamespace(energy_consumed=0.5, emissions=0.2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Tracker]:
    """Make a module that stands in for codecarbon; the trackers that it made."""
    trackers: list[Tracker] = []

    def build(**arguments: object) -> Tracker:
        trackers.append(Tracker(**arguments))
        return trackers[-1]

    source = SimpleNamespace(get_global_energy_mix_data=lambda: {"DEU": {}})
    parts = {"codecarbon": {"OfflineEmissionsTracker": build}, "codecarbon.input": {"DataSource": lambda: source}}
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    return trackers


def test_the_measurement_begins_and_ends(made: list[Tracker]) -> None:
    stop = start_energy_meter("DEU")
    (tracker,) = made
    assert tracker.calls == ["start"]
    assert tracker.arguments["country_iso_code"] == "DEU"
    assert tracker.arguments["save_to_file"] is False
    assert stop() == {"energy_kwh": 0.5, "co2e_kg": 0.2}
    assert tracker.calls == ["start", "stop"]


def test_an_unknown_country_is_one_line(made: list[Tracker]) -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.energy=XXX: codecarbon has no country with this code\."):
        start_energy_meter("XXX")
    assert made == []


def test_nothing_measured_is_one_line(made: list[Tracker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "stop", lambda self: None)
    with pytest.raises(RunError, match="codecarbon measured nothing"):
        start_energy_meter("DEU")()


def test_a_missing_codecarbon_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"codecarbon is not installed\. Run pip install 'simclr-med\[energy\]'\."):
        start_energy_meter("DEU")


def test_the_real_codecarbon_measures_a_process() -> None:
    pytest.importorskip("codecarbon", reason="the extra energy is not installed")
    stop = start_energy_meter("DEU")
    assert sum(range(10**6)) > 0
    found = stop()
    assert 0 <= found["co2e_kg"] <= found["energy_kwh"] < 0.1
