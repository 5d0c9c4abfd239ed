"""GLB files before Khronos' own validator: `npm install gltf-validator` here, or where NODE_PATH points."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dream3d.meshing.export import write_mesh

ROOT = Path(__file__).parents[3]
NODE = shutil.which("node")
if NODE is None:
    pytest.skip("node is not installed", allow_module_level=True)
SCRIPT = """
const validator = require("gltf-validator"), { readFileSync } = require("fs");
const bytes = new Uint8Array(readFileSync(process.argv[1]));
validator.validateBytes(bytes).then(report => console.log(JSON.stringify(report)));
"""


def test_the_validator_finds_nothing_wrong_in_a_glb(painted_ball, tmp_path: Path) -> None:
    if subprocess.run([NODE, "-e", 'require("gltf-validator")'], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("the package gltf-validator is not installed: npm install --no-save gltf-validator")
    path = tmp_path / "ball.glb"
    write_mesh(path, painted_ball.extraction.mesh)
    result = subprocess.run([NODE, "-e", SCRIPT, path], cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(result.stdout)
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0, report["issues"]
    assert report["info"]["totalTriangleCount"] == len(painted_ball.extraction.mesh.faces)
    assert report["info"]["maxAttributes"] == 3  # positions, normals and texture coordinates
    path.write_bytes(path.read_bytes()[:-64])
    result = subprocess.run([NODE, "-e", SCRIPT, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["issues"]["numErrors"]
