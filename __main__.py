"""`cnnzoo`, or `python -m cnnzoo`. What needs no torch does not wait until it is loaded."""

import sys

from cnnzoo.commands import zoo


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in zoo.COMMANDS:
        zoo.main()
    else:
        from cnnzoo.train import main as train

        train()


if __name__ == "__main__":
    main()
