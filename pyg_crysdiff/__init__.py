"""Diffusion models for the inverse design of crystals, on PyTorch Geometric."""

__version__ = "0.1.0"
