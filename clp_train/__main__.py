"""python -m clp_train: the same as clp-train; launchers of several processes start it this way."""

from clp_train.cli import train

if __name__ == "__main__":
    train(prog_name="clp-train")
