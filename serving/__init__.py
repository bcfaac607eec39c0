"""Serving the pushed model. Imports no TFX, TFT, TFMA or Beam."""
