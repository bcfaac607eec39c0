"""The classifier network: transformer layers, weights, dropout and gradients."""
