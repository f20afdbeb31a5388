"""`fewtune serve` under a real client on loopback: lost or wrong answers, seconds, memory.

    python benchmarks/serving.py RUN PHOTOS --minutes 10 --rate 4 --clients 4

RUN: a saved model of photos. PHOTOS: a folder of them. Clients send one to four photos at a time, as forms and as JSON, and one request
in ten holds a photo that cannot be read. Each answer is compared with what the server said of that photo when nothing else was asked. At
the end a burst of 200 requests at once is sent to a queue that holds 256 photos; what is refused with 503 is sent again.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

BOUNDARY = "frontier"
BAD = b"this is no photo"


def served(run: Path) -> tuple[subprocess.Popen[str], int]:
    """The server on a free port, once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fewtune", "serve", str(run), "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, int(line.split("http://127.0.0.1:")[1].split()[0])


def asked(port: int, photos: list[bytes], *, coded: bool) -> tuple[int, Any, float]:
    """(status, what was said, seconds) of one request over a connection of its own."""
    if coded:
        body = json.dumps({"photos": [base64.b64encode(photo).decode() for photo in photos]}).encode()
        headers = {"Content-Type": "application/json"}
    else:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="p.jpg"\r\n\r\n'.encode()
        body = b"".join(head + photo + b"\r\n" for photo in photos) + f"--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/predict", body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), time.perf_counter() - began
    finally:
        connection.close()


def memory(port: int) -> float:
    """MB that the server says it uses."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes")) / 1e6


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.lost = self.wrong = self.photos = 0


def load(port: int, photos: list[bytes], truth: list[Any], tally: Tally, until: float, gap: float, seed: int) -> None:
    """One client: a request about every `gap` seconds."""
    draw = random.Random(seed)
    while time.time() < until:
        rows = [draw.randrange(len(photos)) for _ in range(draw.randint(1, 4))]
        sent = [photos[row] for row in rows]
        bad = draw.random() < 0.1
        if bad:
            sent[0] = BAD
        try:
            status, said, seconds = asked(port, sent, coded=draw.random() < 0.5)
        except OSError:
            tally.lost += 1
            continue
        tally.statuses[status] += 1
        tally.seconds.append(seconds)
        if bad:
            tally.wrong += status != 422
        elif status != 200:
            tally.wrong += status != 503
        else:
            tally.photos += len(rows)
            tally.wrong += any(not same(one, truth[row]) for one, row in zip(said["predictions"], rows, strict=True))
        time.sleep(draw.expovariate(1 / gap))


def same(one: Any, other: Any) -> bool:
    return one["label"] == other["label"] and abs(one["probability"] - other["probability"]) < 1e-4


def burst(port: int, photo: bytes, count: int) -> Counter[int]:
    """Statuses of many requests of four photos at once, each sent again after 503 until it is answered."""
    seen: Counter[int] = Counter()

    def one() -> None:
        for _ in range(60):
            status, _, _ = asked(port, [photo] * 4, coded=False)
            seen[status] += 1
            if status != 503:
                return
            time.sleep(1 + random.random())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=4, help="requests a second, of all clients")
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    photos = [file.read_bytes() for file in sorted(given.photos.rglob("*.jpg"))]
    process, port = served(given.run)
    try:
        truth = [asked(port, [photo], coded=False)[1]["predictions"][0] for photo in photos]
        tally, until = Tally(), time.time() + 60 * given.minutes
        gap = given.clients / given.rate
        clients = [threading.Thread(target=load, args=(port, photos, truth, tally, until, gap, seed)) for seed in range(given.clients)]
        for client in clients:
            client.start()
        levels = []
        while any(client.is_alive() for client in clients):
            levels.append((time.time(), memory(port)))
            time.sleep(min(10.0, 60 * given.minutes / 20))
        asked_all = sum(tally.statuses.values())
        third = max(1, len(levels) // 3)
        middle, end = (statistics.median(m for _, m in part) for part in (levels[third : 2 * third], levels[-third:]))
        print(f"{asked_all} requests in {given.minutes:g} minutes, {tally.photos} photos; {dict(sorted(tally.statuses.items()))}")
        print(f"lost answers: {tally.lost}; wrong answers: {tally.wrong}")
        cuts = statistics.quantiles(tally.seconds, n=100)
        print(f"seconds a request: median {cuts[49]:.3f}, 95% {cuts[94]:.3f}, 99% {cuts[98]:.3f}")
        print(f"memory: {levels[0][1]:.0f} MB at first, {middle:.0f} in the middle third, {end:.0f} in the last third")
        print("MB now and then:", *(f"{m:.0f}" for _, m in levels[:: max(1, len(levels) // 10)]))
        seen = burst(port, photos[0], 200)
        print(f"burst of 200 requests of 4 photos at once: {dict(sorted(seen.items()))}; memory {memory(port):.0f} MB")
    finally:
        process.terminate()
        print(f"the server ended with exit code {process.wait(60)}: {process.stdout.read().strip() if process.stdout else ''}")


if __name__ == "__main__":
    main()
