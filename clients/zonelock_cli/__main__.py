"""`python -m zonelock_cli` is `zonelock`. Owns nothing."""

from zonelock_cli.main import main

if __name__ == "__main__":
    main()
