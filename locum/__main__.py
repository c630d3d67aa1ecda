"""The command `locum`, and `python -m locum`."""

from locum import importing

with importing.in_one_go():
    from locum.cli import main

if __name__ == "__main__":
    main()
