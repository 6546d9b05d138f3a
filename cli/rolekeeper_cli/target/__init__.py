"""The accounts and Regions that a deployment looks after."""
