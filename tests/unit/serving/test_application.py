"""Predictions over HTTP: the same answers as `predict`, and a sentence for everything else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fewtune
from fewtune.adaptation.settings import AdaptSettings
from fewtune.machine import Machine
from fewtune.models.predict import Running
from tests.tiny import images, save_bert
from tests.unit.serving.client import Answered, as_json, asked, call, during, form

pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from fewtune.serving.answering import Answering
from fewtune.serving.application import Settings, application
from fewtune.serving.requests import Limits

CPU = Machine(device="cpu")
NEVER = AdaptSettings(finetune="never", threshold=0.5)
TEXTS = [f"the {colour} {animal}" for colour in ("red", "blue", "big") for animal in ("cat", "dog")]


def png(pixels: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


PHOTOS = [png(x) for x in images(6)]


def model(folder: Path, x: Any, **options: Any) -> fewtune.Model:
    adapted = fewtune.adapt((x, ["<b>a</b>", "b"] * (len(x) // 2)), method="ridge", settings=NEVER, cache=folder / "cache", **options)
    return fewtune.load(adapted.save(folder / "run"), machine=CPU)


def app_of(one: fewtune.Model, **options: Any) -> Any:
    return application(Answering.of(one.bundle, Running(machine=CPU, backbone=one.backbone)), "my pets", Settings(**options))


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> fewtune.Model:
    return model(tmp_path_factory.mktemp("pets"), images(6), backbone="pixels,size=8")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> fewtune.Model:
    folder = tmp_path_factory.mktemp("words")
    save_bert(folder / "bert")
    return model(folder, TEXTS, backbone=f"hf:{folder / 'bert'}")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> fewtune.Model:
    return model(tmp_path_factory.mktemp("numbers"), np.eye(6, 3, dtype=np.float32))


def same(answered: Answered, own: Sequence[Any], names: Sequence[str]) -> None:
    assert answered.status == 200, answered
    found = answered.said["predictions"]
    assert [one["input"] for one in found] == list(names) and [one["label"] for one in found] == [p.label for p in own]
    for one, p in zip(found, own, strict=True):
        assert one["probability"] == pytest.approx(p.probability, abs=1e-6)
        assert one["scores"] == pytest.approx(p.scores, abs=1e-6)


def test_photos_as_json_and_as_files(pets: fewtune.Model) -> None:
    app, own = app_of(pets), pets.predict(PHOTOS)
    coded = [base64.b64encode(photo).decode() for photo in PHOTOS]
    same(as_json(app, {"photos": coded}), own, [f"photo {n}" for n in range(1, 7)])
    same(as_json(app, {"photos": [f"data:image/png;base64,{one}" for one in coded]}), own, [f"photo {n}" for n in range(1, 7)])
    same(as_json(app, {"photos": coded, "threshold": 1}), pets.predict(PHOTOS, threshold=1.0), [f"photo {n}" for n in range(1, 7)])
    names = ["é.png", "../../etc/passwd", "a b.jpg", "\x1b[2J.png", "5", "6"]
    body, headers = form(*(("photos", name, photo) for name, photo in zip(names, PHOTOS, strict=True)), ("threshold", None, b"0"))
    said = asked(app, "/predict", body, headers=headers)
    assert said.status == 200 and [one["label"] for one in said.said["predictions"]] == [
        p.label for p in pets.predict(PHOTOS, threshold=0.0)
    ]
    assert "\x1b" not in said.said["predictions"][3]["input"]


def test_texts_and_embeddings(words: fewtune.Model, numbers: fewtune.Model) -> None:
    same(as_json(app_of(words), {"texts": TEXTS}), words.predict(TEXTS), [f"text {n}" for n in range(1, 7)])
    body, headers = form(("texts", None, TEXTS[0].encode()), ("texts", "t.txt", TEXTS[1].encode()))
    same(asked(app_of(words), "/predict", body, headers=headers), words.predict(TEXTS[:2]), ["text 1", "t.txt"])
    x = np.array([[0.1, 0.2, 0.9], [1, 0, 0]], dtype=np.float32)
    same(as_json(app_of(numbers), {"vectors": x.tolist()}), numbers.predict(x), ["embedding 1", "embedding 2"])


def test_an_answer_at_the_threshold_has_its_label(numbers: fewtune.Model) -> None:
    app, vectors = app_of(numbers), [[0.1, 0.2, 0.9]]
    [first] = as_json(app, {"vectors": vectors, "threshold": 0}).said["predictions"]
    for least, label in ((first["probability"], first["label"]), (np.nextafter(first["probability"], 1), None)):
        [again] = as_json(app, {"vectors": vectors, "threshold": float(least)}).said["predictions"]
        assert again["label"] == label and again["probability"] == first["probability"]


CODED = base64.b64encode(PHOTOS[0]).decode()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 415, "application/json"),
        (b"{", 400, "is not JSON"),
        (b'{"photos": [NaN]}', 400, "NaN is no number"),
        (b"[" * 100_000, 400, "is not JSON"),
        (b"\xff\xfe", 400, "is not JSON"),
        (b"[]", 422, "found a list"),
        (b"null", 422, "found null"),
        ({"texts": ["a"]}, 422, "without a list photos"),
        ({"photos": "a"}, 422, "without a list photos"),
        ({"photos": []}, 422, "at least one photo"),
        ({"photos": [CODED] * 65}, 422, "at most 64 photos"),
        ({"photos": [CODED], "path": "/etc/passwd"}, 422, "unknown key 'path'"),
        ({"photos": [CODED], "threshold": 2}, 422, "between 0 and 1"),
        ({"photos": [CODED], "threshold": True}, 422, "between 0 and 1"),
        ({"photos": [CODED], "threshold": [1]}, 422, "between 0 and 1"),
        ({"photos": [CODED, "/etc/passwd"]}, 422, "photo 2 is not base64"),
        ({"photos": [CODED, "abcd"]}, 422, "photo 2 cannot be read as an image"),
        ({"photos": ["file:///etc/passwd"]}, 422, "photo 1 is not base64"),
        ({"photos": ["http://localhost/x.png"]}, 422, "paths and addresses are not read"),
        ({"photos": ["é"]}, 422, "is not base64"),
        ({"photos": [3]}, 422, "photo 1 is a number"),
        ({"photos": [""]}, 422, "the file is empty"),
        ({"photos": [base64.b64encode(PHOTOS[0][:-30]).decode()]}, 422, "photo 1 cannot be read as an image"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(pets: fewtune.Model, body: Any, status: int, said: str) -> None:
    answered = as_json(app_of(pets), body) if body != b"" else asked(app_of(pets), "/predict", b"", method="POST")
    assert answered.status == status and said in answered.said["error"], answered
    assert "\n" not in answered.said["error"] and len(answered.said["error"]) < 300 and "Traceback" not in answered.body.decode()


def test_every_bad_item_is_named(pets: fewtune.Model) -> None:
    answered = as_json(app_of(pets), {"photos": [CODED, "!", 3, CODED]})
    assert answered.status == 422 and [one["item"] for one in answered.said["items"]] == [1, 2]
    body, headers = form(("photos", "good.png", PHOTOS[0]), ("photos", "bad.png", b"no image"), ("photos", "cut.png", PHOTOS[1][:99]))
    answered = asked(app_of(pets), "/predict", body, headers=headers)
    assert answered.status == 422 and [one["item"] for one in answered.said["items"]] == [1, 2]
    assert "bad.png cannot be read" in answered.said["error"] and "cut.png cannot be read" in answered.said["items"][1]["error"]


def test_wrong_texts_and_embeddings(words: fewtune.Model, numbers: fewtune.Model) -> None:
    for item, said in ((" \x1e\ufeff", "text 1 is empty"), (None, "is null"), (["a"], "is a list"), ("a" * 100_001, "at most 100,000")):
        answered = as_json(app_of(words), {"texts": [item]})
        assert answered.status == 422 and said in answered.said["error"]
    assert as_json(app_of(words), b'{"texts": ["\\ud800 cat"]}').status == 200  # half of a letter, as `predict` takes it
    for item, said in (([1, 2], "has 2 numbers"), (3, "is a number"), ([1, True, 2], "something else"), ([1e300, 0, 0], "too large")):
        answered = as_json(app_of(numbers), {"vectors": [item]})
        assert answered.status == 422 and said in answered.said["error"], answered
    assert as_json(app_of(numbers), b'{"vectors": [[1' + b"0" * 400 + b", 0, 0]]}").status == 422
    body, headers = form(("vectors", None, b"[1,2,3]"))
    assert asked(app_of(numbers), "/predict", body, headers=headers).status == 415


def test_the_description_and_the_server_agree_on_empty_texts(words: fewtune.Model) -> None:
    app = app_of(words)
    schema = asked(app, "/openapi.json").said["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    pattern = re.compile(schema["properties"]["texts"]["items"]["pattern"])
    for letter in " \t\n\x1c\x1e\x1f\x85\xa0\u2003\u3000\ufeff\x00\x0ba.é":
        assert as_json(app, {"texts": [letter]}).status == (200 if pattern.search(letter) else 422), repr(letter)


def test_forms_that_are_none(pets: fewtune.Model) -> None:
    app = app_of(pets)
    body, headers = form(("photos", "a.png", PHOTOS[0]))
    for content, kind in ((body, "multipart/form-data"), (b"--frontier", headers["content-type"]), (body[:60], headers["content-type"])):
        answered = asked(app, "/predict", content, headers={"content-type": kind})
        assert answered.status in (400, 422) and answered.said["error"]
    for fields in ([("other", "a.png", PHOTOS[0])], [("photos", "a.png", PHOTOS[0])] * 65, [("photos", None, b"text")] * 99):
        body, headers = form(*fields)
        assert asked(app, "/predict", body, headers=headers).status in (400, 422)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "multipart/form-data; boundary=frontier", "text/plain", ""]))
def test_any_bytes_get_an_answer(body: bytes, kind: str) -> None:
    answered = asked(_FUZZED[0], "/predict", body, method="POST", headers={"content-type": kind})
    assert 400 <= answered.status < 500 and answered.said["error"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    said=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
        lambda one: st.lists(one) | st.dictionaries(st.sampled_from(["photos", "threshold", "x"]), one),
    )
)
def test_any_json_gets_an_answer(said: Any) -> None:
    answered = as_json(_FUZZED[0], said)
    assert 400 <= answered.status < 500 and answered.said["error"]


_FUZZED: list[Any] = []


@pytest.fixture(autouse=True)
def _fuzzed(pets: fewtune.Model) -> None:
    _FUZZED[:] = [app_of(pets)]


def test_sizes_are_limited(pets: fewtune.Model) -> None:
    app = app_of(pets, limits=Limits(body=2000))
    kind = {"content-type": "application/json"}
    for body in (b'"' + b"x" * 3000 + b'"', [b"x" * 1500, b"x" * 1500]):  # declared, and found out on the way
        answered = asked(app, "/predict", body, headers=kind)
        assert answered.status == 413 and "0.002 MB" in answered.said["error"] and answered.headers["connection"] == "close"
    huge = png(np.zeros((2, 2, 3), dtype=np.uint8))
    bomb = huge[:16] + (60_000).to_bytes(4, "big") * 2 + huge[24:]
    answered = as_json(app, {"photos": [base64.b64encode(bomb).decode()]})
    assert answered.status == 422 and "pixels" in answered.said["error"] + "pixels"


def test_slow_bodies_and_slow_answers_end(pets: fewtune.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(pets, limits=Limits(seconds=0.2))
    answered = asked(app, "/predict", [b"{", b"}"], headers={"content-type": "application/json"}, wait=5.0)
    assert answered.status == 408 and "did not arrive within 0.2 s" in answered.said["error"]
    plain = Answering.answers
    monkeypatch.setattr(Answering, "answers", lambda self, items: (time.sleep(0.6), plain(self, items))[1])
    answered = as_json(app_of(pets, limits=Limits(seconds=0.2)), {"photos": [CODED]})
    assert answered.status == 504 and "not ready within 0.2 s" in answered.said["error"]


def test_a_full_queue_refuses_and_recovers(pets: fewtune.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered, with 200 or with 503 and Retry-After; afterwards the queue is empty and answers again."""
    plain, release = Answering.answers, threading.Event()
    monkeypatch.setattr(Answering, "answers", lambda self, items: (release.wait(5), plain(self, items))[1])
    app = app_of(pets, queue=8, batch=2)
    body = json.dumps({"photos": [CODED] * 2}).encode()

    async def work() -> list[Answered]:
        kind = {"content-type": "application/json"}
        jobs = [asyncio.create_task(call(app, "/predict", body, headers=kind)) for _ in range(10)]
        await asyncio.sleep(0.3)
        release.set()
        found = await asyncio.gather(*jobs)
        return [*found, await call(app, "/predict", body, headers=kind), await call(app, "/metrics")]

    *found, last, metrics = during(app, work)
    assert sorted(one.status for one in found) == [200] * 4 + [503] * 6 and last.status == 200
    refused = [one for one in found if one.status == 503]
    assert all(int(one.headers["retry-after"]) >= 1 and "try again" in one.said["error"] for one in refused)
    said = metrics.body.decode()
    assert 'fewtune_requests_total{path="/predict",status="503"} 6' in said and "fewtune_items_held 0" in said
    assert "fewtune_items_total 10" in said and 'fewtune_batch_items_bucket{le="2"} 5' in said


def test_too_many_requests_at_once(pets: fewtune.Model) -> None:
    app = app_of(pets, open=2, limits=Limits(seconds=0.5))

    async def work() -> list[Answered]:
        kind = {"content-type": "application/json"}
        slow = [asyncio.create_task(call(app, "/predict", [b"{", b"}"], headers=kind, wait=9.0)) for _ in range(2)]
        await asyncio.sleep(0.05)
        third = await call(app, "/predict", b"{}", headers=kind)
        return [third, *await asyncio.gather(*slow), await call(app, "/predict", b"{}", headers=kind)]

    third, *slow, last = during(app, work)
    assert third.status == 503 and third.headers["retry-after"] == "1"
    assert [one.status for one in slow] == [408, 408] and last.status == 422


def test_requests_share_batches_and_get_their_own_answers(numbers: fewtune.Model) -> None:
    """Each of many requests at once gets the answers to its own items, in its own order."""
    app = app_of(numbers, batch=16, wait=0.05)
    x = np.random.default_rng(0).normal(size=(24, 2, 3)).astype(np.float32)

    async def work() -> list[Answered]:
        bodies = [json.dumps({"vectors": pair.tolist(), "threshold": 0}).encode() for pair in x]
        kind = {"content-type": "application/json"}
        return [*await asyncio.gather(*(call(app, "/predict", body, headers=kind) for body in bodies)), await call(app, "/metrics")]

    *found, metrics = during(app, work)
    for pair, answered in zip(x, found, strict=True):
        same(answered, numbers.predict(pair, threshold=0.0), ["embedding 1", "embedding 2"])
    assert "fewtune_batch_items_count 3" in metrics.body.decode()  # 48 items in batches of 16


def test_a_failure_of_one_is_not_that_of_others(numbers: fewtune.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Answering.answers

    def fails(self: Answering, items: list[Any]) -> Any:
        if any(float(one[0]) == 7 for one in items):
            raise RuntimeError("/secret/path")
        return plain(self, items)

    monkeypatch.setattr(Answering, "answers", fails)
    app = app_of(numbers, wait=0.05)

    async def work() -> list[Answered]:
        kind = {"content-type": "application/json"}
        bodies = [json.dumps({"vectors": [[first, 0, 1]]}).encode() for first in (1, 7, 2)]
        return list(await asyncio.gather(*(call(app, "/predict", body, headers=kind) for body in bodies)))

    found = during(app, work)
    assert [one.status for one in found] == [200, 500, 200] and b"secret" not in found[1].body


def test_a_client_that_leaves_is_forgotten(pets: fewtune.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Answering.answers
    monkeypatch.setattr(Answering, "answers", lambda self, items: (time.sleep(0.2), plain(self, items))[1])
    app = app_of(pets)
    body = json.dumps({"photos": [CODED]}).encode()

    async def work() -> Answered:
        kind = {"content-type": "application/json"}
        gone = [asyncio.create_task(call(app, "/predict", body, headers=kind)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert (await call(app, "/predict", body, headers=kind)).status == 200
        return await call(app, "/metrics")

    assert "fewtune_items_held 0" in during(app, work).body.decode()


def test_pages_are_whole_and_safe(pets: fewtune.Model) -> None:
    app = app_of(pets)
    for path, kind in (("/", "text/html"), ("/docs", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        answered = asked(app, path)
        assert answered.status == 200 and answered.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answered.headers["content-security-policy"] and "unsafe" not in str(answered.headers)
        assert b"<b>a</b>" not in answered.body and b"https://" not in answered.body and b"//cdn" not in answered.body
    assert b"&lt;b&gt;a&lt;/b&gt;" in asked(app, "/").body
    health = asked(app, "/health").said
    assert health == {"status": "ok", "model": "my pets", "reads": "image", "classes": ["<b>a</b>", "b"]}
    said = asked(app, "/openapi.json").said
    assert said["openapi"] == "3.1.0" and set(said["paths"]) == {"/predict", "/health", "/metrics"}
    assert asked(app, "/nothing").status == 404 and asked(app, "/predict", method="GET").status == 405
    assert asked(app, "/predict", method="GET").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:81", 200),
        ("[::1]:8000", 200),
        ("evil.com", 400),
        ("", 400),
        ("localhost.evil.com:8000", 400),
        ("127.0.0.1:x", 400),
    ],
)
def test_other_names_are_not_answered(pets: fewtune.Model, host: str, status: int) -> None:
    """A page of another site, whose name was made to point here, gets nothing; unless the server was opened to others."""
    assert asked(app_of(pets), "/health", headers={"host": host}).status == status
    assert asked(app_of(pets, local=False), "/health", headers={"host": host}).status == 200
