"""`python -m synthenticity` is the command `synthenticity`."""

from synthenticity.cli import main

main()
