"""The roles under the role path, who uses them, and revoking what an instance got of one."""
