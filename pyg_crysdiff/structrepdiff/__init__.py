"""StructRepDiff (arXiv 2408.07213): diffusion of descriptors, crystals by inverting them."""
