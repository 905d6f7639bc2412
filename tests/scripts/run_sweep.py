"""Run the sweep of `workload` into a store, under the conditions that the options name."""

import argparse
import signal
import sys

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("store")
parser.add_argument("--length", type=int, default=20)
parser.add_argument("--devices", type=int)
parser.add_argument("--progress", action="store_true")
parser.add_argument("--without", nargs="*", default=[], help="modules that cannot be imported")
parser.add_argument("--wait", action="store_true", help="for a line on the standard input")


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup has it ignored
    options = parser.parse_args()
    for name in options.without:
        sys.modules[name] = None
    import jax

    if options.devices:
        jax.config.update("jax_num_cpu_devices", options.devices)
    from workload import run

    if options.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    runs = run(options.store, options.length, progress=options.progress)
    if options.devices:
        assert runs.attrs["devices"] == options.devices
    print("done")


if __name__ == "__main__":
    main()
