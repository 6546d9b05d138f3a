"""The deployment that a command talks to: one way to ask AWS, and one to wait."""
