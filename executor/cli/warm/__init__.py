"""A process that has everything imported and forks one child for each `sealrun run` and `sealrun runs`.

`entry` decides and `handover` stands where the command was typed: both start in a moment, from the standard library
alone. `template` is the process that waits, `command` its child that carries a command out. `leaving` starts it.
"""
