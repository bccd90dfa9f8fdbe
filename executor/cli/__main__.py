"""`python -m executor.cli` is `sealrun`."""

from executor.cli.main import main

main()
