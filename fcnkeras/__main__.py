"""`python -m fcnkeras`: the same as the `fcnkeras` command."""

from fcnkeras.cli import main

if __name__ == "__main__":
    main()
