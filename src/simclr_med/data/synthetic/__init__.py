"""The embedded data set: drawn cells of several classes, made from a seed."""

from simclr_med.data.synthetic.dataset import Synthetic as Synthetic
