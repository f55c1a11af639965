"""`python -m punchcard` is `punchcard`."""

from punchcard.cli import main

if __name__ == "__main__":
    main()
