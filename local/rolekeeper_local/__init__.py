"""The embedded AWS: an emulator on this machine that tells the truth about EC2, with Rolekeeper deployed to it.

``embedded.EmbeddedAws`` is the way in; ``python -m rolekeeper_local`` keeps one in the foreground.
"""
