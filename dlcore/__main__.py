"""`python -m dlcore` and the `dlcore` command."""

import os

try:
    from dlcore.cli import interrupts
except KeyboardInterrupt:  # in the milliseconds before there is a handler
    os.write(2, b"dlcore: interrupted\n")
    os._exit(130)


def main() -> None:
    """Run the command line as the whole of this process, and end it."""

    def command() -> None:
        from dlcore.cli import main

        main.main()

    interrupts.run_process(command)


if __name__ == "__main__":
    main()
