"""Metrics of a representation that show whether it has collapsed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def alignment(one_BP: Tensor, two_BP: Tensor) -> Tensor:
    """Return the mean squared distance of an image's two views on the unit sphere, in [0, 4]; 0 is perfect alignment.

    Wang and Isola 2020, equation 3 with alpha = 2.
    """
    return (F.normalize(one_BP.float(), dim=1) - F.normalize(two_BP.float(), dim=1)).square().sum(dim=1).mean()


def uniformity(rows_NP: Tensor) -> Tensor:
    """Return the log of the mean of exp(-2 d^2) over all pairs on the unit sphere, in [-8, 0]; lower is more uniform.

    Wang and Isola 2020, equation 4 with t = 2.
    """
    rows = F.normalize(rows_NP.float(), dim=1)
    cosine = (rows @ rows.T)[torch.triu(torch.ones(len(rows), len(rows), dtype=torch.bool, device=rows.device), 1)]
    return (4 * cosine - 4).logsumexp(0) - torch.log(torch.tensor(float(len(cosine)), device=rows.device))


def effective_rank(rows_ND: Tensor) -> Tensor:
    """Return exp of the entropy of the singular values (RankMe: Garrido et al. 2023, equation 1), in [1, min(N, D)].

    It is NaN if a value of the rows is not finite.
    """
    if not torch.isfinite(rows_ND).all():  # torch would raise an error
        return torch.tensor(float("nan"))
    # From the smaller Gram matrix: cheaper than a singular value decomposition, and exact enough in float64.
    rows = rows_ND.double()
    gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    p = singular / singular.sum().clamp_min(1e-12) + 1e-12
    return torch.exp(-(p * p.log()).sum())


def feature_std(rows_ND: Tensor) -> Tensor:
    """Return the mean over the dimensions of the standard deviation of the L2-normalised rows.

    It is 1/sqrt(D) for an even spread, and NaN for a single row.
    """
    if len(rows_ND) < 2:  # torch would warn
        return torch.tensor(float("nan"))
    return F.normalize(rows_ND.float(), dim=1).std(dim=0).mean()
