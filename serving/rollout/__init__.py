"""How a pushed version takes over the traffic: on trial by stages, promoted or rolled back."""
