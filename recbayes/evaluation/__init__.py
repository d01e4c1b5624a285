"""Off-policy evaluation that says when not to believe it. See README.md in this folder."""
