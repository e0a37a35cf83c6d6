"""`python -m assent.cli`: the same as `assent`."""

from assent.cli.main import main

main()
