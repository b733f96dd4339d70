"""An encoder as a directory that runs without this codebase, and back."""
