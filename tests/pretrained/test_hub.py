"""Resolution of checkpoints against a local HTTP server that imitates the Hugging Face hub."""

import json
import os
import subprocess
import sys
import threading
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.bundled import BUNDLED
from core.errors import UserError
from core.io.presets import load_preset
from core.pretrained.hub import HubNames, checkpoint_kind, resolve_checkpoint
from tests.conftest import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/tiny"
FILES = {
    "model_index.json": json.dumps(
        {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "feature_extractor": [None, None],
        }
    ),
    "unet/config.json": "{}",
    "unet/diffusion_pytorch_model.safetensors": "weights",
    "unet/diffusion_pytorch_model.fp16.safetensors": "half",
    "unet/diffusion_pytorch_model.bin": "pickled",
    "safety_checker/model.safetensors": "unused",
    "everything.safetensors": "a second copy",
}


PLAIN = "unet/diffusion_pytorch_model.safetensors"
HALF = f"{MODEL}-half"  # has no weights in full precision


class Hub(BaseHTTPRequestHandler):
    """Request handler of a hub with two models; names with "gated" are gated, all others are missing."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "gated" in path:
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if MODEL not in path:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        files = {name: text for name, text in FILES.items() if HALF not in path or name != PLAIN}
        if "/resolve/" in path:
            content = files[path.split(f"/{COMMIT}/")[1]].encode()
            headers = {"ETag": f'"{sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.answer(200, content, headers)
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(text), "oid": sha1(text.encode()).hexdigest()}
                for name, text in files.items()
            ]
            return self.answer(200, json.dumps(entries).encode())
        siblings = [{"rfilename": name} for name in files]
        self.answer(200, json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode())

    do_HEAD = do_GET  # noqa: N815  (the name http.server calls)

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def resolve_in_subprocess(name: str, cache: Path, endpoint: str, **environment: str) -> str:
    """Output of `resolve_checkpoint` in a subprocess with this hub and cache: a path, or an error."""
    code = (
        "import sys; from core.errors import UserError; from core.pretrained.hub import resolve_checkpoint\n"
        "try: print(resolve_checkpoint(sys.argv[1]))\n"
        "except UserError as error: print('refused:', error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
        | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_id_is_downloaded_once_and_only_the_needed_files(hub, tmp_path):
    folder = Path(resolve_in_subprocess(MODEL, tmp_path, hub))
    fetched = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert fetched == {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
    assert checkpoint_kind(folder) == "StableDiffusionPipeline"
    assert resolve_in_subprocess(MODEL, tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1") == str(folder)
    assert resolve_in_subprocess(MODEL, tmp_path, "http://127.0.0.1:9") == str(
        folder
    )  # nothing listens on this port


def test_one_file_of_a_repository_is_fetched(hub, tmp_path):
    path = Path(resolve_in_subprocess(f"{MODEL}/everything.safetensors", tmp_path, hub))
    assert path.read_text() == "a second copy" and path.name == "everything.safetensors"
    assert [file.name for file in path.parent.rglob("*.*")] == ["everything.safetensors"]


def test_half_precision_is_fetched_where_there_is_no_other(hub, tmp_path):
    folder = Path(resolve_in_subprocess(HALF, tmp_path, hub))
    weights = {path.name for path in folder.rglob("*.safetensors")}
    assert weights == {"diffusion_pytorch_model.fp16.safetensors"}
    assert resolve_in_subprocess(HALF, tmp_path, hub, HF_HUB_OFFLINE="1") == str(folder)


@pytest.mark.parametrize(
    ("name", "environment", "sentence"),
    [
        ("someone/else", {}, "There is no folder someone/else and no public model of that name on the hub"),
        (
            "someone/gated",
            {},
            "someone/gated is gated: accept its terms on https://huggingface.co/someone/gated",
        ),
        (
            "someone/tiny",
            {"HF_HUB_OFFLINE": "1"},
            "someone/tiny is not in the local cache, and HF_HUB_OFFLINE",
        ),
        ("./tiny", {}, "There is no folder ./tiny"),
        ("a/b/c", {}, "There is no folder a/b/c"),
        ("a/b/../../c.safetensors", {}, "There is no folder a/b/../../c.safetensors"),
        (f"{MODEL}/none.safetensors", {}, f"{MODEL} has no file none.safetensors on the hub"),
        ("bad name/x", {}, "There is no folder bad name/x and no public model"),
    ],
)
def test_unavailable_checkpoints_give_a_one_line_error(name, environment, sentence, hub, tmp_path):
    output = resolve_in_subprocess(name, tmp_path, hub, **environment)
    assert output.startswith(f"refused: {sentence}") and "\n" not in output


def test_no_network_gives_a_one_line_error(tmp_path):
    output = resolve_in_subprocess(MODEL, tmp_path, "http://127.0.0.1:9")
    assert output.startswith(f"refused: {MODEL} is not in the local cache, and the hub cannot be reached")
    assert "\n" not in output


@pytest.mark.parametrize("name", ["runwayml/stable-diffusion-v1-5", "sd15"])
def test_short_names_and_removed_ids_resolve_to_current_ids(name, hub, tmp_path):
    output = resolve_in_subprocess(name, tmp_path, hub)
    assert output.startswith("refused: There is no folder stable-diffusion-v1-5/stable-diffusion-v1-5 ")


def test_no_name_resolves_to_a_removed_id():
    known = load_preset("hub", HubNames)
    assert not set(known.moved) & {*known.moved.values(), *known.names.values()}
    assert all(name.count("/") == 1 for name in {*known.moved.values(), *known.names.values()})


def test_folders_and_files_resolve_to_themselves(tmp_path):
    file = tmp_path / "lora.safetensors"
    file.write_bytes(b"")
    assert resolve_checkpoint(tmp_path) == tmp_path and resolve_checkpoint(str(file)) == file


def test_checkpoint_kind_of_folders(tmp_path, sdxl):
    assert checkpoint_kind(sdxl) == "StableDiffusionXLPipeline"
    assert checkpoint_kind(sdxl / "unet") == "UNet2DConditionModel"
    assert checkpoint_kind(BUNDLED / "image") == "dreamlift"
    with pytest.raises(UserError, match="is not a model folder"):
        checkpoint_kind(tmp_path)
    (tmp_path / "model_index.json").write_text("[")
    with pytest.raises(UserError, match=r"is damaged \(not JSON\)"):
        checkpoint_kind(tmp_path)
