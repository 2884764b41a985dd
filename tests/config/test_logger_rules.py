"""An address of MLflow is refused with its credentials hidden, since config.yaml would record them."""

from __future__ import annotations

import pytest

from simclr_med.config.logger_rules import mask_secrets
from simclr_med.config.validate import find_problems


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("https://user:pa@ss@host/path", "https://***@host/path"),
        ("https://token@host", "https://***@host"),
        ("postgresql://host/db?password=x", "postgresql://host/db?***"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_credentials_are_masked_and_refused(composed, uri: str, shown: str) -> None:
    assert mask_secrets(uri) == shown
    problems = find_problems(composed("logger=mlflow", f"logger.tracking_uri='{uri}'"))
    if uri == shown:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"logger.tracking_uri={shown}: config.yaml would record these credentials. Set ")


def test_address_is_refused_for_another_logger(composed) -> None:
    (problem,) = find_problems(composed("logger=tensorboard", "logger.tracking_uri=http://u:secret@host"))
    assert problem == (
        "logger.tracking_uri=http://***@host: not used by logger=tensorboard. Add logger=mlflow, or remove it."
    )
