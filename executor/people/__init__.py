"""Who may do what: people and service accounts, their roles, and what they prove themselves with.

Everything here is a row, and looked up at each use: a session or a token ends the moment its owner is disabled, in
every process that answers. Nothing of this room knows HTTP, cookies or pages.
"""
