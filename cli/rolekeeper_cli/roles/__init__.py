"""The roles under the path: who carries them, what they may do, and what of that they don't use."""
