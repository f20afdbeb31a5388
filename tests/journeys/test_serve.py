"""`fewtune serve` as a program: it listens, answers, warns, and ends in good order."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fewtune.progress import EVERY
from tests.journeys.conftest import SHAPES, Ran, draw

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

Run = Callable[..., Ran]


@pytest.fixture
def model(fewtune: Run, photos: Path, tmp_path: Path) -> Path:
    ran = fewtune("adapt", photos, "--backbone", "pixels,size=12", "--method", "ridge", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    return tmp_path / "run"


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """(the process, its port), once it listens."""
    command = [sys.executable, "-m", "fewtune", "serve", str(model), "--port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    try:
        found = re.search(r":(\d+) ", process.stdout.readline())
        assert found is not None, process.communicate(timeout=60)
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def asked(port: int, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": kind} if kind else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_answers_as_predict_does_and_ends_in_good_order(fewtune: Run, model: Path, tmp_path: Path) -> None:
    files = []
    for number, shape in enumerate(SHAPES):
        files.append(tmp_path / f"{shape}.png")
        draw(shape, 900 + number).save(files[-1])
    own = json.loads(fewtune("predict", model, *files, "--format", "json", "--quiet").out)
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="photos"; filename="{file.name}"\r\n\r\n'.encode() + file.read_bytes() + b"\r\n"
        for file in files
    )
    with serving(model, "--quiet") as (process, port):
        status, said = asked(port, "/predict", body + b"--b--\r\n", "multipart/form-data; boundary=b")
        found = json.loads(said)["predictions"]
        assert status == 200 and [one["input"] for one in found] == [file.name for file in files]
        assert [one["label"] for one in found] == [one["label"] for one in own]
        assert [one["probability"] for one in found] == pytest.approx([one["probability"] for one in own], abs=1e-5)
        assert asked(port, "/health")[0] == asked(port, "/metrics")[0] == asked(port, "/")[0] == 200
        with socket.create_connection(("127.0.0.1", port)) as rude:  # no HTTP at all
            rude.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert rude.recv(99).startswith(b"HTTP/1.1 400")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as twice:  # a second request hidden in the first one
            hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
            lengths = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
            twice.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + lengths + b"\r\n0\r\n\r\n" + hidden)
            answers = b"".join(iter(lambda: twice.recv(65536), b""))  # until it is closed
            assert answers.count(b"HTTP/1.1") == 1 and answers.startswith(b"HTTP/1.1 400") and b"says its length twice" in answers
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "every request that was taken is answered" in out and err == ""


def test_it_says_what_is_wrong_before_it_starts(fewtune: Run, model: Path, tmp_path: Path) -> None:
    for flags, said in (
        (("--batch", "0"), "above 0"),
        (("--items", "300"), "--queue not below --items"),
        (("--port", "99999"), "expected --port from 0 to 65535"),
        (("--host", "203.0.113.1"), "cannot listen on 203.0.113.1"),
    ):
        ran = fewtune("serve", model, *flags)
        assert ran.code == 2 and said in ran.err and ran.out == "" and ran.err.count("\n") == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = fewtune("serve", model, "--port", taken.getsockname()[1])
        assert ran.code == 2 and "cannot listen on 127.0.0.1" in ran.err
    assert "no saved model" in fewtune("serve", tmp_path / "absent").err


def test_it_warns_where_others_are_let_in(model: Path) -> None:
    with serving(model, "--host", "0.0.0.0") as (process, port):
        assert asked(port, "/health")[0] == 200
        time.sleep(EVERY + 1)  # a server that waits for requests does not say that it is at work
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "so far" not in err
        assert process.returncode == 0 and "whoever reaches this port can use the model, without a password" in err
