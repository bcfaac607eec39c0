"""Names, settings, errors and file layouts shared by all packages. Standard library only."""
