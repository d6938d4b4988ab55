"""`python -m dlcore` and the `dlcore` command."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from dlcore import command_line
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "dlcore":
            raise
        sys.exit(f"dlcore: the command line needs {error.name}; install it with: pip install 'dlcore-jax[cli]'")
    command_line.main()


if __name__ == "__main__":
    main()
