"""`python -m deploy` is the operator's command, also where it is not installed as smart-factory."""

from deploy.ops.cli import main

if __name__ == "__main__":
    main(prog_name="python -m deploy")
