"""Rules of all store functions."""

from __future__ import annotations

import subprocess
import sys

TWO_THREADS = """
from __future__ import annotations
import threading, time
import msgspec
from locum.store import rows

begun, never = threading.Event(), threading.Event()

def int_later():
    begun.set()
    never.wait(0.2)  # as if the interpreter gave way to the other thread here
    return int

class Part(msgspec.Struct):
    number: int_later()

class Whole(msgspec.Struct):
    part: Part

numbers = []

def decode():
    numbers.append(rows.decode('{"part": {"number": 1}}', Whole).part.number)

other = threading.Thread(target=decode)
other.start()
begun.wait()
decode()
other.join()
print(numbers)
"""


def test_two_threads_can_decode_the_first_docs_of_a_kind_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 1]\n", "")
