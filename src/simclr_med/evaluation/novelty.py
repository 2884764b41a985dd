"""Out-of-distribution scores of a classifier: higher for images unlike its training images.

Shape letters: N training images (the bank), M scored images, D features, K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simclr_med.types import MULTI_LABEL, Task

_CHUNK = 1024  # scored images that are compared with the bank at once; affects memory only


def mahalanobis(bank_ND: Tensor, classes_N: np.ndarray, features_MD: Tensor) -> np.ndarray:
    """Return the squared Mahalanobis distance to the nearest class mean, float64 [M] (Lee et al. 2018, equation 2).

    All classes share one covariance. It is shrunk as in Ledoit and Wolf 2004, since there may be fewer images than
    features.

    Args:
        bank_ND: features of training images.
        classes_N: class of each, int; classes without images have no mean.
        features_MD: of the scored images.
    """
    from sklearn.covariance import LedoitWolf

    bank, features = (values.double().cpu().numpy() for values in (bank_ND, features_MD))
    known, index_N = np.unique(classes_N, return_inverse=True)
    means_KD = np.stack([bank[index_N == k].mean(axis=0) for k in range(len(known))])
    precision_DD = LedoitWolf(assume_centered=True).fit(bank - means_KD[index_N]).precision_
    centred_KMD = features[None] - means_KD[:, None]
    return np.asarray(np.einsum("kmd,de,kme->km", centred_KMD, precision_DD, centred_KMD, optimize=True).min(axis=0))


def neighbour_distance(bank_ND: Tensor, features_MD: Tensor, neighbours: int) -> np.ndarray:
    """Return the distance to the k-th nearest training image, of features with length 1, [M] (Sun et al. 2022).

    Args:
        bank_ND, features_MD: as in `mahalanobis`.
        neighbours: k; all N where there are fewer.
    """
    bank = functional.normalize(bank_ND.double())
    k = min(neighbours, len(bank))
    parts = [torch.cdist(functional.normalize(part.double()), bank) for part in features_MD.split(_CHUNK)]
    return np.asarray(torch.cat([part.kthvalue(k, dim=1).values for part in parts]).cpu().numpy())


def energy(task: Task, logits_MK: Tensor) -> np.ndarray:
    """Return the free energy of the logits, float64 [M] (Liu et al. 2020, equation 4, at temperature 1).

    For a multi-label set it is minus the sum over the labels of log(1 + exp(logit)) (Wang et al. 2021, JointEnergy).
    """
    logits = logits_MK.double().cpu()
    free = -functional.softplus(logits).sum(dim=1) if task == MULTI_LABEL else -logits.logsumexp(dim=1)
    return np.asarray(free.numpy())
