"""`rolekeeper verify`: a deployment of its own goes through the whole story in the caller's account, and is removed."""
