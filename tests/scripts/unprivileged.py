"""Open and run again two stores that this user may only read: a complete one and another one."""

import email.policy  # noqa: F401  # what is imported late may not be readable by others
import os
import sys

import jax

jax.config.update("jax_enable_x64", True)

from jaxmom.sweeps import open_sweep, sweep  # noqa: E402


def main(complete, incomplete):
    from test_store import SPACE, train

    sweep(train, SPACE, width=4)
    open_sweep(complete).load()
    if os.getuid() == 0:
        os.setgroups([])  # root may write anywhere
        os.setgid(65534)
        os.setuid(65534)
    for runs in (open_sweep(complete), sweep(train, SPACE, store=complete)):
        print(int((runs.status > 0).sum()))
    try:
        sweep(train, SPACE, store=incomplete)
    except PermissionError as error:
        print(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
