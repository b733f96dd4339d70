"""Pure functions on arrays: no parameters, no modules, tested alone."""
