"""Only a full disk or quota is answered with the advice to free space."""

from __future__ import annotations

import errno
import os

import pytest

from simclr_med.errors import write_advice


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE])
def test_advice_fits_the_error(number: int) -> None:
    advice = write_advice(OSError(number, os.strerror(number)))
    assert ("Free disk space" in advice) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_unknown_reason_asks_for_no_space() -> None:
    assert "space" not in write_advice(None)
    assert "space" not in write_advice(OSError("no number"))
