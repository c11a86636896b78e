"""Runs a model in less memory than it takes, and holds it against the same model without a limit.

    python Tools/memory_limit.py --glim .build/release/glim --model DIR --memory 4GiB

In a control group of that much memory (version 1 or 2; needs the right to make one, as root has) it draws tokens with
`glim generate --memory`: the process must not be killed, must never hold more, and must say what it says without a limit,
to the last digit of every log-probability. Then `glim bench decode` is held against what `glim plan` expects, in turns and
in the same group: a shared disk is twice as fast in one minute as in the next. Each measurement is compared with the mean of
the plans before and behind it, and the median of that must be within a quarter of 1. --no-whole leaves the run without a
limit out, where the machine cannot hold the model.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys

UNITS = {"": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def fail(message):
    sys.exit(f"error: {message}")


def byte_count(text):
    digits = text.rstrip("kKMGiB")
    try:
        return int(float(digits) * UNITS[text[len(digits):]])
    except (KeyError, ValueError):
        fail(f"--memory is {text}; give bytes, such as 4GiB")


class Group:
    """A control group with a limit on memory."""

    def __init__(self, limit):
        own = {}
        with open("/proc/self/cgroup") as file:
            for line in file:
                _, names, path = line.rstrip("\n").split(":", 2)
                own |= {name: path for name in names.split(",")}
        if "memory" in own:
            self.base = "/sys/fs/cgroup/memory" + own["memory"]
            self.limit, self.peak, self.events = "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt"
        else:
            self.base = "/sys/fs/cgroup" + own.get("", "/")
            self.limit, self.peak, self.events = "memory.max", "memory.peak", "memory.events"
        self.path = os.path.join(self.base.rstrip("/"), f"glim-{os.getpid()}")
        try:
            os.mkdir(self.path)
            self.write(self.limit, str(limit))
        except OSError as error:
            fail(f"no control group can be made at {self.path}: {error.strerror}; run this as root, or in a container "
                 "that may")

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(text)

    def read(self, name):
        with open(os.path.join(self.path, name)) as file:
            return file.read().split()

    def join(self):
        self.write("cgroup.procs", str(os.getpid()))

    def remove(self):
        os.rmdir(self.path)


def run(command, group=None):
    """The last line of what a command prints, as JSON, and the most memory that it held."""
    print("$ " + " ".join(command), file=sys.stderr)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=group.join if group else None)
    out, errors = process.communicate()
    if process.returncode < 0:
        fail(f"{command[1]} was ended by signal {-process.returncode}: it took more memory than there is")
    if process.returncode:
        fail(f"{command[1]} failed: {errors.strip()}")
    sys.stderr.write(errors)
    return json.loads(out.strip().splitlines()[-1])


def held(glim, arguments, group):
    """The same in a process of its own, so that the system's count of its children is of this one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = run([glim] + arguments, group)
        except SystemExit as error:  # the group is for the parent to remove
            print(error, file=sys.stderr)
            os._exit(1)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        with os.fdopen(writer, "w") as file:
            json.dump([result, peak], file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if status or not text:
        sys.exit(1)
    return json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--glim", default=".build/release/glim")
    parser.add_argument("--model", required=True)
    parser.add_argument("--memory", required=True, help="bytes, such as 4GiB")
    parser.add_argument("--tokens", type=int, default=16, help="to draw")
    parser.add_argument("--context", type=int, default=512, help="of the measurement")
    parser.add_argument("--no-whole", action="store_true", help="no run without a limit")
    parser.add_argument("--rounds", type=int, default=3, help="measurements")
    options = parser.parse_args()

    memory = byte_count(options.memory)
    size = sum(
        os.path.getsize(os.path.join(options.model, name))
        for name in os.listdir(options.model) if name.endswith(".safetensors"))
    print(f"model: {size} bytes, {size / memory:.2f} times the memory")
    prompt = ",".join(str(7 * i % 101) for i in range(48))
    generate = ["generate", "--model", options.model, "--tokens", prompt, "--max-tokens", str(options.tokens),
                "--temperature", "0", "--json"]
    limit = ["--memory", str(memory)]
    group = Group(memory)
    try:
        small, peak = held(options.glim, generate + limit, group)
        planning = ["plan", "--model", options.model, "--context", str(options.context), "--json"] + limit
        measuring = ["bench", "decode", "--model", options.model, "--context", str(options.context), "--tokens",
                     str(options.tokens), "--json"] + limit
        plans, benches = [held(options.glim, planning, group)[0]], []
        for _ in range(options.rounds):
            benches.append(held(options.glim, measuring, group))
            plans.append(held(options.glim, planning, group)[0])
        refused = group.read(group.events)
        print(f"control group: {' '.join(group.read(group.peak))} bytes at most, files included; events {' '.join(refused)}")
    finally:
        group.remove()
    print(f"generate: {peak} bytes held at most, {100 * peak / memory:.1f}% of the memory; "
          f"{small['decode_tokens_per_second']:.3g} tokens/s, hit rate {small.get('expert_hit_rate', 1):.3f}")
    ratios = []
    for (bench, bench_peak), before, after in zip(benches, plans, plans[1:]):
        expected = statistics.mean(plan["decode_tokens_per_second"] for plan in (before, after))
        measured = bench["tokens_per_second"]
        ratios.append(measured / expected)
        print(f"plan: {expected:.3g} tokens/s expected, {measured:.3g} measured ({ratios[-1]:.2f} times), hit rate "
              f"{before['hit_rate']:.3f} and {bench.get('expert_hit_rate', 1):.3f}; bench held {bench_peak} bytes")
        peak = max(peak, bench_peak)
    good = peak <= memory and 0.75 <= statistics.median(ratios) <= 1.25
    if not options.no_whole:
        whole, _ = held(options.glim, generate, None)
        same = whole["tokens"] == small["tokens"] and whole["logprobs"] == small["logprobs"]
        print(f"tokens and log-probabilities without a limit: {'the same' if same else 'others'}")
        good = good and same
    print("holds" if good else "does not hold")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
