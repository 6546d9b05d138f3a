"""What `rolekeeper doctor` looks at. A check yields what isn't as it should be, and returns how it is when all is."""
