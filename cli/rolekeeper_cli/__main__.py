"""`python -m rolekeeper_cli`: the command, where its script can't be found."""

from rolekeeper_cli.main import main

if __name__ == "__main__":
    main()
