"""`python -m punchcard` is `punchcard`."""

import sys

if __name__ == "__main__":
    try:
        from punchcard.cli import main

        main()
    except KeyboardInterrupt:  # Ctrl-C while the modules load
        sys.exit(130)
