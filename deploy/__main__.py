"""`python -m deploy` is the operator's command, also where it is not installed as smart-factory."""

import sys

from deploy.ops.cli import main
from deploy.ops.completion import PROGRAM, VARIABLE

if __name__ == "__main__":
    # The installed command keeps the current folder out of sys.path (-P).
    installed = sys.flags.safe_path
    main(prog_name=PROGRAM if installed else "python -m deploy", complete_var=VARIABLE)
