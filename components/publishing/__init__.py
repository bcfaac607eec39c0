"""How a model becomes a version folder that model servers watch."""
