"""`python -m frontend.cli` is `kennel`, where the script is not installed."""

from frontend.cli import main

main()
