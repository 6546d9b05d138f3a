"""The checks of `rolekeeper doctor`. A check yields what is wrong, and returns what to show if nothing is."""
