"""What looks at all instances, or at what is due: the sweep, expiries, what operators write, the registry of targets.

Nothing is imported here: the work queue's function needs the registry alone, and starts without the rest.
"""
