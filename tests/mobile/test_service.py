"""``sonoforge serve`` as a service: what watches it, limits it, ends it, and stands before it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from browser import running
from bundle_factory import scan
from dicom_peers import write_scan
from places import CHECKOUT
from program import refused, understood
from sonoforge.mobile.observation import AccessLog
from sonoforge.mobile.server import _BUSY, Server, Site
from sonoforge.runtime.inference.classifier import Classifier
from web_service import FORMS, asked, png

parser = pytest.importorskip("prometheus_client.parser", reason="needs pip install '.[dev]'")

EXAMPLES = CHECKOUT / "mobile" / "docs" / "service"
NAME = "Mrs-Doe-1950.png"
MOST = 2_000_000
Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def make_server(classifier: Classifier, queue: int = 32, log: Path | str | None = None) -> Server:
    hosts = frozenset(("localhost", "127.0.0.1"))
    site = Site({"index.html": b"page"}, classifier, hosts, MOST, queue)
    return Server(("127.0.0.1", 0), site, AccessLog(str(log)) if log else None)


@pytest.fixture
def server(classifier: Classifier, tmp_path: Path) -> Iterator[Server]:
    server = make_server(classifier, queue=1, log=tmp_path / "access.jsonl")
    with running(server):
        yield server


@contextlib.contextmanager
def occupied(server: Server, posts: int) -> Iterator[list[Any]]:
    """Both workers are busy, and so many posts wait; inside, their answers once the workers are free."""
    free = threading.Event()
    for _ in range(_BUSY):
        server.workers.submit(free.wait)
    with ThreadPoolExecutor(posts) as pool:
        sent = [pool.submit(asked, server.server_port, "POST", "/classify", png(1)) for _ in range(posts)]
        while server.scans < posts:
            time.sleep(0.01)
        try:
            yield sent
        finally:
            free.set()


def post(server: Server, path: str = "/classify", body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    status, found, content = asked(server.server_port, "POST", path, png(1) if body is None else body, **headers)
    answer = json.loads(content)
    assert answer["request"] == found["X-Request-Id"]
    return status, answer


def figures(server: Server) -> dict[Sample, float]:
    """The samples of ``/metrics``, read by Prometheus's own library."""
    status, headers, content = asked(server.server_port, "GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples: dict[Sample, float] = {}
    for family in parser.text_string_to_metric_families(content.decode()):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def figure(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0)


def lines_of(log: Path, count: int) -> list[dict[str, Any]]:
    """The lines of the log, once there are so many: a line follows its answer."""
    until = time.monotonic() + 10
    while time.monotonic() < until and (not log.is_file() or log.read_bytes().count(b"\n") < count):
        time.sleep(0.01)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == count
    return lines


@pytest.mark.parametrize("posts", [96, pytest.param(2000, marks=pytest.mark.slow)])
def test_figures_and_log_agree_with_what_sixteen_clients_got(
    classifier: Classifier, tmp_path: Path, posts: int
) -> None:
    bodies = [png(0), png(1), png(2), b"no picture"]
    with running(server := make_server(classifier, log=tmp_path / "log")), ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda number: post(server, body=bodies[number % 4]), range(posts)))
        lines = lines_of(tmp_path / "log", posts)
        found = figures(server)
    statuses = Counter(status for status, _ in got)
    assert statuses == {200: posts * 3 / 4, 422: posts / 4}
    for status, count in statuses.items():
        where = {"path": "/classify", "method": "POST"}
        assert figure(found, "sonoforge_requests_total", status=str(status), **where) == count
    answers = [answer for _, answer in got if answer["ok"]]
    for name, label, values in (
        ("sonoforge_verdicts_total", "verdict", [answer["verdict"] for answer in answers]),
        ("sonoforge_labels_total", "label", [answer["label"] for answer in answers]),
        ("sonoforge_trust_causes_total", "cause", [one for answer in answers for one in answer["trust"]["causes"]]),
        ("sonoforge_refused_total", "reason", ["not_an_image"] * statuses[422]),
    ):
        shown = {dict(key[1])[label]: value for key, value in found.items() if key[0] == name}
        assert shown == Counter(values), name
    spent = [answer["ms"]["infer"] / 1e3 for answer in answers]
    assert figure(found, "sonoforge_part_seconds_sum", part="infer") == pytest.approx(sum(spent))
    for bound in ("0.025", "0.1"):
        shown = figure(found, "sonoforge_part_seconds_bucket", part="infer", le=bound)
        assert shown == sum(seconds <= float(bound) for seconds in spent)
    for le in ({"le": "+Inf"}, {}):
        assert figure(found, f"sonoforge_scan_seconds_{'bucket' if le else 'count'}", **le) == len(answers)
    logged = {line["request"]: line for line in lines}
    assert {line["path"] for line in lines} == {"/classify"}
    for status, answer in got:
        line = logged.pop(answer["request"])
        assert line["status"] == status and line["ms"] > 0
        kept = {key: answer[key] for key in answer if key not in ("file", "map", "request", "notice")}
        assert line.get("answer") == (kept if answer["ok"] else None)
    assert not logged


def test_neither_figures_nor_log_hold_a_name_or_an_unknown_address(server: Server, tmp_path: Path) -> None:
    given = [post(server, f"/classify?name={NAME}")[1], post(server, f"/classify?name={NAME}", b"none")[1]]
    assert [answer["file"] for answer in given] == [NAME] * 2
    assert post(server, "/classify?name=M%C3%BCller.png")[1]["file"] == "Müller.png"
    assert post(server)[1]["file"] == "upload"
    for number in range(3):
        asked(server.server_port, "GET", f"/{NAME}/{number}?{NAME}")
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(f"{NAME}{number} /{NAME} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b" 405 " in client.recv(65536)
    found, log = figures(server), tmp_path / "access.jsonl"
    labels = {value for _, pairs in found for _, value in pairs}
    lines = lines_of(log, 4 + 6 + 1)
    assert not [label for label in labels if NAME in label] and NAME not in log.read_text() + str(lines)
    assert figure(found, "sonoforge_requests_total", path="other", method="GET", status="404") == 3
    assert figure(found, "sonoforge_requests_total", path="other", method="other", status="405") == 3


def test_a_request_has_the_number_that_its_caller_gave_if_it_is_harmless(server: Server) -> None:
    assert post(server, **{"X-Request-Id": "A-1_b.2"})[1]["request"] == "A-1_b.2"
    own = set()
    for given in ("", "x" * 65, 'a"b', "<b>", "a b", "é"):
        own |= {post(server, body=b"none", **{"X-Request-Id": given})[1]["request"]}
    assert len(own) == 6 and all(re.fullmatch("[0-9a-f]{16}", number) for number in own)


def test_a_method_that_is_none_hears_which_are(server: Server) -> None:
    for path, method, allowed in (
        ("/classify", "GET", "POST, PUT"),
        ("/health", "TRACE", "GET, HEAD"),
        ("/", "POST", "GET, HEAD"),
    ):
        status, headers, _ = asked(server.server_port, method, path)
        assert (status, headers["Allow"]) == (405, allowed)


def test_what_answers_is_said_in_the_figures(server: Server, classifier: Classifier) -> None:
    found = figures(server)
    ((about, value),) = ((dict(pairs), value) for (name, pairs), value in found.items() if name == "sonoforge_info")
    assert value == 1 and about["model_sha256"] == classifier.model["sha256"]
    assert about["bundle"] == classifier.model["name"] and about["version"] and about["onnxruntime"]
    assert 3e7 < figure(found, "process_resident_memory_bytes") < 1e11
    assert 0 < time.time() - figure(found, "process_start_time_seconds") < 600


def test_beyond_the_queue_scans_are_refused_for_a_while_and_figures_are_not(server: Server) -> None:
    with occupied(server, _BUSY + 1) as waiting:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.request("POST", "/classify", png(1))
        full = connection.getresponse()
        assert (full.status, json.load(full)["error"]["code"]) == (429, "queue")
        assert 1 <= int(full.headers["Retry-After"]) <= 60
        begun, found = time.monotonic(), figures(server)
        assert time.monotonic() < begun + 1, "a scrape does not wait for scans"
        assert figure(found, "sonoforge_scans_in_flight") == _BUSY + 1
        assert figure(found, "sonoforge_scans_waiting") == 1
        assert asked(server.server_port, "GET", "/healthz")[0] == 200
    assert [answer.result()[0] for answer in waiting] == [200] * (_BUSY + 1)
    connection.request("POST", "/classify", png(1))  # the same connection
    assert connection.getresponse().status == 200
    assert figure(figures(server), "sonoforge_scans_in_flight") == 0


def test_a_defect_is_said_without_the_words_of_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(NAME)

    monkeypatch.setattr("sonoforge.mobile.server.answer_file", broken)
    status, answer = post(server)
    assert (status, answer["error"]["code"]) == (500, "failed")
    assert "unexpected RuntimeError" in caplog.text and NAME not in caplog.text + str(answer)
    monkeypatch.undo()
    assert post(server)[0] == 200


def test_at_the_end_what_is_in_work_is_answered(server: Server) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read()
    with ThreadPoolExecutor(1) as pool, occupied(server, _BUSY) as waiting:
        ended = pool.submit(server.end, 20)
        while not server.ending:
            time.sleep(0.01)
        kept.request("GET", "/healthz")  # the connection was open before
        health = kept.getresponse()
        assert (health.status, health.headers["Connection"], json.load(health)["ok"]) == (503, "close", False)
        time.sleep(0.6)  # the listening loop looks twice a second
        with pytest.raises(ConnectionRefusedError):
            asked(server.server_port, "GET", "/healthz")
    assert [answer.result()[0] for answer in waiting] == [200] * _BUSY
    assert ended.result() == 0


def test_the_end_does_not_wait_for_ever(server: Server) -> None:
    with occupied(server, 1):
        begun = time.monotonic()
        assert server.end(0.3) == 1
        assert time.monotonic() < begun + 5
    server.socket = socket.create_server(("127.0.0.1", 0))  # for the fixture to close


def test_a_client_that_sends_all_before_it_reads_still_hears_why_it_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n")
        client.sendall(bytes(20_000_000))
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


# ---- the access log


def test_a_renamed_log_is_opened_anew(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    for _ in range(2):
        post(server)
        lines_of(log, 1)
        log.replace(tmp_path / "old")
    post(server)
    assert lines_of(log, 1)[0]["answer"]["label"]


def test_a_log_that_cannot_be_written_stops_no_answer_and_is_said_aloud(
    classifier: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone" / "log"
    gone.parent.mkdir()
    with running(server := make_server(classifier, log="/dev/full")):
        assert [post(server)[0] for _ in range(3)] == [200] * 3
        until = time.monotonic() + 5
        while figure(figures(server), "sonoforge_log_lines_lost_total") < 3 and time.monotonic() < until:
            time.sleep(0.01)
    assert [
        line for line in caplog.messages if "/dev/full: the access log CANNOT BE WRITTEN" in line and "LOST" in line
    ]
    with running(server := make_server(classifier, log=gone)):
        shutil.rmtree(gone.parent)
        assert post(server)[0] == post(server)[0] == 200
        until = time.monotonic() + 5
        while figure(figures(server), "sonoforge_log_lines_lost_total") < 2 and time.monotonic() < until:
            time.sleep(0.01)
        gone.parent.mkdir()
        status, answer = post(server)
        until = time.monotonic() + 10  # a line follows its answer, and may follow an earlier request's late one
        while time.monotonic() < until and not (gone.is_file() and answer["request"] in gone.read_text()):
            time.sleep(0.01)
        assert status == 200 and answer["request"] in gone.read_text()


def test_settings_that_cannot_be_are_refused_in_one_line(tmp_path: Path) -> None:
    page = ("--set", "serve.page=false", "--port", 0)
    assert "No such file" in refused("serve", *page, "--set", f"serve.log={tmp_path}/none/log")
    assert "serve.page" in refused("serve", *page, "--open")


# ---- the description


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    text = (CHECKOUT / "mobile" / "sonoforge" / "mobile" / "openapi.json").read_text(encoding="utf-8")
    return json.loads(text, object_hook=_closed)


def _closed(found: dict[str, Any]) -> dict[str, Any]:
    """A schema that allows no field besides those that it names."""
    return {"additionalProperties": False, **found} if "properties" in found and "type" in found else found


def test_the_description_is_openapi_and_what_is_answered_is_in_it(
    classifier: Classifier, described: dict[str, Any], tmp_path: Path
) -> None:
    jsonschema, openapi = pytest.importorskip("jsonschema"), pytest.importorskip("openapi_spec_validator")
    openapi.validate(described)
    animated, frames = tmp_path / "clip.gif", [Image.fromarray(scan(seed, 200, 160)) for seed in range(3)]
    frames[0].save(animated, save_all=True, append_images=frames[1:])
    files = {"scan.png": png(1), "clip.gif": animated.read_bytes(), "none": b"none", "empty": b""}
    if shutil.which("python") and pytest.importorskip("pydicom"):
        files["scan.dcm"] = write_scan(tmp_path / "scan.dcm", 1).read_bytes()
    screens = Classifier(crop="auto")
    for each in (classifier, screens):
        with running(server := make_server(each)):
            told = json.loads(asked(server.server_port, "GET", "/openapi.json")[2], object_hook=_closed)
            assert told == described
            for name, body in files.items():
                status, answer = post(server, f"/classify?name={name}", body)
                of(described, "/classify", "post", status, answer, jsonschema)
            for address in ("/health", "/healthz"):
                status, _, content = asked(server.server_port, "GET", address)
                of(described, address, "get", status, json.loads(content), jsonschema)


def of(described: dict[str, Any], address: str, method: str, status: int, answer: Any, jsonschema: Any) -> None:
    """Check an answer against the schema for its address and status."""
    about = described["paths"][address][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**described, **about}).validate(answer)


# ---- the program, as an engineer runs it


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """``sonoforge serve`` in a process of its own, its address, and its log."""
    log = tmp_path_factory.mktemp("service") / "log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"serve.page": "false", "serve.log": log, "serve.names": "scans.clinic.example"}
    words = [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "serve", "--port", str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and f":{port}/" in process.stdout.readline()
    yield process, f"http://127.0.0.1:{port}", log
    process.kill()


def test_the_examples_of_the_page_answer(program: tuple[Any, str, Path], tmp_path: Path) -> None:
    _, address, _ = program
    names = ("first scan.png", "second.png")
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(png(seed))
    commands = {"classify.sh": "sh", "classify.py": sys.executable, "classify.mjs": "node"}
    for example, runner in commands.items():
        needed = "curl" if runner == "sh" else runner
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed}")
        command = [runner, EXAMPLES / example, *(tmp_path / name for name in names)]
        environment = {**os.environ, "SONOFORGE": address, "no_proxy": "127.0.0.1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(answer["file"], answer["ok"]) for answer in answers] == [(name, True) for name in names], example


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is read on Linux alone")
@pytest.mark.parametrize("kind", FORMS)
def test_a_form_costs_a_few_times_its_bytes_and_a_line(program: tuple[Any, str, Path], kind: str) -> None:
    process, address, log = program
    port, about = int(address.rpartition(":")[2]), Path(f"/proc/{process.pid}")
    body = FORMS[kind] * (20_000_000 // len(FORMS[kind]))

    def memory(name: str) -> int:
        return int(re.findall(rf"{name}:\s+(\d+) kB", (about / "status").read_text())[0]) * 1024

    def cpu() -> float:
        return sum(map(int, (about / "stat").read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def one(content: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": f"multipart/form-data; boundary={'x' * 68}"}
        status, _, answer = asked(port, "POST", "/classify", content, **headers)
        return status, answer

    lines = log.read_bytes().count(b"\n")
    assert one(png(1))[0] == 200
    while log.read_bytes().count(b"\n") == lines:  # a line follows its answer
        time.sleep(0.01)
    time.sleep(0.1)  # as may one of an earlier test
    before, lines, used = memory("VmRSS"), log.read_bytes().count(b"\n"), cpu()
    (about / "clear_refs").write_text("5")  # the peak begins anew
    status, answer = one(body)
    assert (status, json.loads(answer)["error"]["code"]) == (422, "not_an_image")
    assert len(answer) < 1000 and b"\n" not in answer
    assert memory("VmHWM") - before < 4 * len(body)
    assert memory("VmRSS") - before < 4 * len(body)
    assert cpu() - used < len(body) / 1e6
    assert len(lines_of(log, lines + 1)) == lines + 1


def test_a_clinic_asks_through_nginx_and_haproxy(program: tuple[Any, str, Path], tmp_path: Path) -> None:
    """Each as its file on the page says, but for ports, places and the certificate."""
    _, address, _ = program
    certificates = pytest.importorskip("sonoforge.mobile.certificate", reason="needs cryptography")
    pem = str(certificates.certificate_for("127.0.0.1").file)
    for name in ("nginx", "haproxy"):
        if shutil.which(name) is None:
            pytest.skip(f"needs Debian's {name}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        text = (EXAMPLES / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[name]).read_text()
        text = re.sub(r"192\.168\.1\.2\d:8765", address.removeprefix("http://"), text)
        text = (
            re.sub(r"/etc/\w+/scans\.\w+", pem, text)
            .replace("listen 443", f"listen {port}")
            .replace(":443", f":{port}")
        )
        (tmp_path / name).write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\n{text}" if name == "nginx" else text)
        command = {"nginx": ["nginx", "-p", tmp_path, "-g", "daemon off;", "-c"], "haproxy": ["haproxy", "-db", "-f"]}[
            name
        ]
        balancer = subprocess.Popen([*command, tmp_path / name], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            found = asked_at(int(port), "POST", "/classify", png(1) + bytes(1_500_000))
            assert json.loads(found[1])["label"]
            origin = f"https://scans.clinic.example:{port}"
            assert asked_at(int(port), "POST", "/classify", png(1), Origin=origin)[0] == 200
            assert asked_at(int(port), "POST", "/classify", png(1), Origin="https://evil.example")[0] == 403
            assert asked_at(int(port), "GET", "/metrics")[0] == 403
        finally:
            balancer.terminate()
            balancer.wait()


def asked_at(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """What a balancer on this machine answers by the clinic's name, once it is up."""
    import ssl

    until = time.monotonic() + 15
    while True:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=30, context=ssl._create_unverified_context()
        )
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body, {"Host": f"scans.clinic.example:{port}", **headers})
                answer = connection.getresponse()
                found = answer.status, answer.read()
            except OSError:
                found = 503, b""
        if found[0] not in (502, 503) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def test_the_unit_of_systemd_runs_what_the_program_understands(tmp_path: Path) -> None:
    text = (EXAMPLES / "sonoforge.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+/sonoforge (.*)$", text, re.MULTILINE)
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({"serve.log": "/var/log/sonoforge/access.jsonl", "serve.page": False}))
    assert understood(*command.replace("/etc/sonoforge.yaml", str(settings)).split()).code == 0
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "sonoforge.service"
        unit.write_text(text.replace("/opt/sonoforge/bin/sonoforge", "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        assert "sonoforge.service" not in done.stderr


def test_sigterm_ends_the_program_with_every_request_answered(program: tuple[Any, str, Path]) -> None:
    process, address, log = program
    port = int(address.rpartition(":")[2])
    before = len(log.read_text().splitlines())
    got: list[int] = []

    def send(number: int) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                got.append(asked(port, "POST", "/classify", png(number))[0])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(got) < 8:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert process.wait(20) == 0
    assert set(got) == {200}, "answered or not let in"
    assert len(log.read_text().splitlines()) == before + len(got)
    assert "not answered" not in process.stderr.read()
