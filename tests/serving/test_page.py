"""What the page shows, its script run by Node with the least of a document: elements that keep what is set on them."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import serving
from tests.support.asgi_client import AsgiClient

SCRIPT = Path(serving.__file__).parent / "page" / "page.js"
ASKED = {"level": "COR", "pattern": "normal", "count": 2, "seed": 7}

DOCUMENT = """
const fs = require("fs");
const answers = JSON.parse(fs.readFileSync(0));
const elements = {};
function make(id) {
  const classes = {};
  return {
    id, classes, value: "", textContent: "", children: [],
    options: [], selectedOptions: [{}], tBodies: [{ replaceChildren() {} }],
    classList: { toggle(name, on) { classes[name] = on; } }, listeners: {},
    addEventListener(name, listener) { this.listeners[name] = listener; },
    append(...more) { this.children.push(...more); },
    replaceChildren(...all) { this.children = all; },
    querySelector(kind) { return this.children.find((child) => child.id === kind); },
    setAttribute() {}, insertCell: () => make("td"),
    getContext: () => ({ createImageData: (w, h) => ({ data: new Uint8Array(4 * w * h) }), putImageData() {} }),
  };
}
globalThis.document = { getElementById: (id) => (elements[id] ??= make(id)), createElement: make };
URL.createObjectURL = () => "blob:";
globalThis.fetch = async (path) => {
  const { body, headers } = answers[path];
  return new Response(Buffer.from(body, "base64"), { headers });
};
"""
PRESS = """
(async () => {
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = elements["scale-label"].textContent;
  answers["/v1/model"] = answers["the next model"];
  await elements.request.listeners.submit({ preventDefault() {} });
  const captions = elements.slices.children.map((figure) => figure.querySelector("figcaption").textContent);
  console.log(JSON.stringify({ before, after: elements["scale-label"].textContent, captions,
    status: elements.status.textContent }));
})();
"""
PROMOTION = """
setTimeout(() => {
  const { textContent, classes } = elements["promotion-line"];
  console.log(JSON.stringify({ text: textContent, ungated: classes.ungated }));
}, 50);
"""


def _run_page(answers: dict[str, object], then: str) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here")
    done = subprocess.run(
        [node, "-e", DOCUMENT + SCRIPT.read_text() + then],
        input=json.dumps(answers),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.parametrize(
    ("promotion", "ungated", "words"),
    [
        ("gates", False, "every gate passed"),
        ("override", True, "against its gates: “to try it”"),
        ("outside", True, "by hand, outside the gates"),
        ("none", False, "Not promoted"),
    ],
)
def test_what_did_not_pass_the_gates_stands_out(client: AsgiClient, promotion: str, ungated: bool, words: str) -> None:
    model = client.get("/v1/model").json()
    answers = {
        "/v1/model": _answer({**model, "promotion": promotion, "promotion_reason": "to try it"}),
        "/v1/conditions": _answer(client.get("/v1/conditions").json()),
    }

    shown = _run_page(answers, PROMOTION)

    assert shown["ungated"] is ungated
    assert words in shown["text"]


def test_the_captions_and_the_colour_bar_name_the_unit_of_the_model_that_answered(client: AsgiClient) -> None:
    slices = client.post("/v1/slices", json=ASKED)
    measured = client.post("/v1/quantify", files={"file": ("slices", slices.content)})
    model = client.get("/v1/model").json()
    answers = {
        "/v1/model": _answer({**model, "sha256": "0" * 64, "intensity_unit": "counts of before"}),
        "the next model": _answer({**model, "intensity_unit": "mL/100g/min"}),
        "/v1/conditions": _answer(client.get("/v1/conditions").json()),
        "/v1/slices": {"body": _base64(slices.content), "headers": dict(slices.headers)},
        "/v1/quantify": _answer(measured.json()),
    }
    shown = _run_page(answers, PRESS)
    mean_counts = [one["mean_counts"] for one in measured.json()["slices"]]
    assert shown["status"].startswith("2 synthetic slices, seed 7")
    assert (shown["before"], shown["after"]) == ("counts of before", "mL/100g/min")
    for index, (caption, mean) in enumerate(zip(shown["captions"], mean_counts, strict=True)):
        assert caption.startswith(f"{index}: MC {mean:.1f} mL/100g/min, LR ")


def _answer(body: object) -> dict[str, object]:
    return {"body": _base64(json.dumps(body).encode()), "headers": {"Content-Type": "application/json"}}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
