"""Terminal output: each screen prints a record that it is given."""
