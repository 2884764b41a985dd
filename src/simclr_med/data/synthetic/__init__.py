"""The synthetic data set: drawn blood cells of eight classes, generated from a seed."""

from simclr_med.data.synthetic.dataset import Synthetic as Synthetic
