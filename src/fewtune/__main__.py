"""`python -m fewtune`."""

from fewtune.cli import main

if __name__ == "__main__":
    main()
