"""What can be done to loopback in a network namespace: packets lost, peers cut off, little bandwidth."""

import re
import subprocess

TABLE = "inet faults"
# What loopback has by default.
MTU, SEGMENT_BYTES = 65_536, 65_536


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def _drop(*rules):
    # On the way in: what is dropped on the way out, its sender would be told of.
    lines = "\n".join(rules)
    run("nft", "-f", "-", text=f"table {TABLE} {{\nchain input {{\ntype filter hook input priority 0\n{lines}\n}}\n}}\n")


def cut_off(ports):
    """From now on, neither end of these connections hears anything of the other."""
    listed = ", ".join(str(port) for port in ports)
    _drop(f"tcp dport {{ {listed} }} drop", f"tcp sport {{ {listed} }} drop")


def lose(port, percent):
    """Of the packets to and from there, that many of a hundred do not arrive."""
    chance = f"numgen random mod 100 < {percent} counter drop"
    _drop(f"tcp dport {port} {chance}", f"tcp sport {port} {chance}")


def lost():
    """How many packets have been, since `lose`."""
    return sum(int(packets) for packets in re.findall(r"counter packets (\d+)", run("nft", "list", "ruleset")))


def heal():
    # Made first, so that it is there to be deleted.
    run("nft", "-f", "-", text=f"table {TABLE} {{\n}}\ndelete table {TABLE}\n")


def small_packets():
    """As on an Ethernet. Loopback's would have dozens of messages in each."""
    run("ip", "link", "set", "lo", "mtu", "1500", "gso_max_size", "1500")


def narrow(rate):
    """All of loopback together gets no more than that."""
    # Or a bucket of this size would never let one through.
    small_packets()
    run("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", rate, "burst", "128kb", "latency", "400ms")


def widen():
    subprocess.run(("tc", "qdisc", "del", "dev", "lo", "root"), capture_output=True)
    run("ip", "link", "set", "lo", "mtu", str(MTU), "gso_max_size", str(SEGMENT_BYTES))
