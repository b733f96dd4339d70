"""How good the tracks of a manifest are, with and without a reference."""
