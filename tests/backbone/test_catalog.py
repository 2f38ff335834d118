import json
import shutil
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as hub_settings
import pytest

from promptlab.backbone import catalog
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.catalog import Place, locate, locate_config
from promptlab.errors import BackboneError
from promptlab.methods.params import params_report

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def point_at(monkeypatch, port):
    here = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(hub_settings, "ENDPOINT", here)
    files = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_settings, "HUGGINGFACE_CO_URL_TEMPLATE", here + files)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    """A port where nobody listens, and an empty cache."""
    point_at(monkeypatch, 9)
    monkeypatch.setattr(hub_settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_settings, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch):
    """hub({name: folder}): a small hub on this machine that serves those folders; no such name is a 404."""
    servers = []

    def serve(models: dict[str, Path]) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Hub,), {"models": models}))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        point_at(monkeypatch, server.server_port)

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class _Hub(BaseHTTPRequestHandler):
    models: dict[str, Path] = {}  # noqa: RUF012 (set by the fixture)

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0].removeprefix("/api/models").strip("/")
        name = next((name for name in self.models if path.startswith(name)), None)
        if name is None:
            return self.answer(404, b"")
        folder, rest = self.models[name], path.removeprefix(name).strip("/")
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        paths = [str(file.relative_to(folder)) for file in files]
        if rest.startswith("resolve"):
            return self.answer(200, (folder / rest.split("/", 2)[2]).read_bytes())
        if rest.startswith("tree"):
            sizes = [file.stat().st_size for file in files]
            listed = [
                {"type": "file", "path": path, "size": size, "oid": path}
                for path, size in zip(paths, sizes, strict=True)
            ]
            return self.answer(200, json.dumps(listed).encode())
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in paths]}
        return self.answer(200, json.dumps(info).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{len(body)}-{hash(body)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def folder(tiny_bert_folder, tmp_path):
    """A model folder of one's own, to be broken."""
    return Path(shutil.copytree(tiny_bert_folder, tmp_path / "model"))


def refusal(name) -> str:
    with pytest.raises(BackboneError) as caught:
        locate(str(name))
    return str(caught.value)


def remove(folder, *patterns):
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()


def test_a_whole_folder_is_taken_as_it_is(folder):
    assert locate(str(folder)) == Place(folder)


def test_a_path_that_is_not_there_is_no_hub_name():
    assert "no folder './nowhere'" in refusal("./nowhere")
    assert "no folder 'a/b/c'" in refusal("a/b/c")


def test_an_empty_name_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert "no folder ''" in refusal("")


def test_a_file_is_refused_and_a_folder_asked_for(folder):
    assert "model.safetensors is a file. Write the folder" in refusal(folder / "model.safetensors")


def test_a_folder_without_a_config_is_no_model(folder):
    remove(folder, "config.json")
    assert "has no config.json" in refusal(folder)


def test_a_folder_without_weights_says_which_files_it_wants(folder):
    remove(folder, "*.safetensors")
    assert "has no weights (*.safetensors)" in refusal(folder)


def test_a_pickle_is_named_and_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "has its weights as pytorch_model.bin" in message
    assert "model.save_pretrained(FOLDER)" in message


@pytest.mark.parametrize("rest", ["", "tokenizer_config.json"])
def test_a_folder_without_a_tokenizer_is_refused_though_transformers_would_make_an_empty_one(folder, rest):
    kept = (folder / rest).read_text() if rest else ""
    remove(folder, "tokenizer*", "vocab*", "special_tokens*")
    if rest:
        (folder / rest).write_text(kept)
    assert "has no tokenizer (tokenizer.json, vocab.txt" in refusal(folder)


def test_an_unreachable_hub_is_an_error_within_seconds():
    start = time.monotonic()
    message = refusal("some-lab/some-model")
    assert "no folder 'some-lab/some-model' here, and the hub cannot be reached" in message
    assert time.monotonic() - start < 5


def test_a_hub_that_never_answers_is_not_waited_for(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_at(monkeypatch, silent.getsockname()[1])
        monkeypatch.setattr(catalog, "TIMEOUT", 0.3)
        start = time.monotonic()
        assert "the hub cannot be reached" in refusal("some-lab/some-model")
        assert time.monotonic() - start < 5


def test_offline_mode_is_named_as_the_reason(monkeypatch):
    monkeypatch.setattr(hub_settings, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal("some-lab/some-model")


def test_a_name_that_the_hub_does_not_know_is_said_to_be_misspelt(hub):
    hub({})
    assert "the hub has no model of this name" in refusal("some-lab/some-modle")


def test_a_hub_model_with_nothing_but_a_pickle_is_refused_before_it_is_downloaded(hub, folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub({"some-lab/old": folder})
    assert "the hub's some-lab/old has its weights as pytorch_model.bin" in refusal("some-lab/old")
    assert not (tmp_path / "cache").exists()


def test_a_hub_model_is_downloaded_without_the_other_formats_of_its_weights(hub, folder):
    (folder / "onnx").mkdir()
    for extra in ("onnx/model.safetensors", "model.fp16.safetensors", "flax_model.msgpack", "notes.md"):
        (folder / extra).write_bytes(b"of no use here")
    hub({"some-lab/new": folder})
    place = locate("some-lab/new")
    found = {str(file.relative_to(place.folder)) for file in place.folder.rglob("*")}
    assert (place.base, place.gguf) == (None, None)
    assert found == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_downloaded_model_loads_like_its_folder_and_goes_on_loading_offline(hub, folder, monkeypatch):
    hub({"some-lab/new": folder})
    online = load_backbone("some-lab/new", device="cpu")
    point_at(monkeypatch, 9)
    offline = load_backbone("some-lab/new", device="cpu")
    assert online.fingerprint == offline.fingerprint == load_backbone(str(folder), device="cpu").fingerprint
    assert online.name == "some-lab/new"


def test_a_download_that_breaks_off_is_an_error_of_one_sentence(hub, folder, monkeypatch):
    hub({"some-lab/new": folder})

    def breaks(*_, **__):
        raise ConnectionResetError("the line went dead\nTraceback: much more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks)
    assert refusal("some-lab/new") == "some-lab/new could not be downloaded: the line went dead. Try again."


def test_parameters_of_a_hub_model_are_counted_from_its_configuration_alone(hub, folder):
    hub({"some-lab/new": folder})
    (found,), (wanted,) = (params_report(name, ["lora:r=2"]) for name in ("some-lab/new", str(folder)))
    assert found == replace(wanted, backbone="some-lab/new")
    assert [file.name for file in locate_config("some-lab/new").folder.iterdir()] == ["config.json"]
    with pytest.raises(BackboneError, match="no folder 'some-lab/modle' here, and the hub has no model of this name"):
        params_report("some-lab/modle", ["lora:r=2"])
