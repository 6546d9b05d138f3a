"""An instance: what it carries, why, since when, and what its software does with it."""
