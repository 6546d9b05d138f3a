"""The switches of the whole deployment, its sweep and its dead letters."""
