"""Model servers of the InfraValidator, and the checks of their answers."""
