# The door from a checkout: python cli.py compare mr ...
from promptlab.cli.app import main

if __name__ == "__main__":
    main()
