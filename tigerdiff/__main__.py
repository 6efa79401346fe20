"""``python -m tigerdiff`` is the command ``tigerdiff``."""

from tigerdiff.cli import main

if __name__ == "__main__":
    main()
