"""`python -m executor.cli` is `sealrun`."""

from executor.cli.warm.entry import main

main()
