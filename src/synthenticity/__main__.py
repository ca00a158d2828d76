"""`python -m synthenticity`, and the command `synthenticity`."""

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from synthenticity.cli import run
    except KeyboardInterrupt:  # Ctrl-C while the command line itself is imported
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
