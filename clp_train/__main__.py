"""python -m clp_train: the same as clp-train, as launchers of several processes start it."""

from clp_train.cli import train

if __name__ == "__main__":
    train(prog_name="clp-train")
