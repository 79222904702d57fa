"""Prediction of properties by DimeNet++: to judge crystals or to choose among them."""
