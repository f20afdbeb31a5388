"""What lies beside an exported model: a note that says what goes in and what comes out, and programs in Python and JavaScript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fewtune.backbones.preparation import ImagePreparation, Prepared
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.models.graph import Inputs

_PYTHON = '''"""{title}: class probabilities, with {packages} alone (pip install {packages}).

    python {stem}_predict.py {usage}
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
{imports}
HERE = Path(__file__).resolve().parent
session = onnxruntime.InferenceSession(str(HERE / "{stem}.onnx"), providers=["CPUExecutionProvider"])
CLASS_NAMES = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])


{body}

if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    for given in sys.argv[1:]:
        for p in session.run(None, inputs(given))[0]:
            print(f"{{given}}\\t{{CLASS_NAMES[p.argmax()]}}\\t{{p.max():.4f}}" if np.isfinite(p).all() else f"{{given}}\\t(black)\\tnan")
'''

_PHOTOS = '''def inputs(file):
    """Upright RGB pixels from 0 to 255, of any size: the model resizes, crops and scales them itself."""
    photo = ImageOps.exif_transpose(Image.open(file))
    if photo.has_transparency_data:  # what is transparent becomes white
        photo = photo.convert("RGBA")
        paper = Image.new("RGBA", photo.size, (255, 255, 255, 255))
        paper.alpha_composite(photo)
        photo = paper
    return {"pixels_0_255": np.asarray(photo.convert("RGB"), dtype=np.uint8)[None]}
'''

_TEXTS = '''tokenizer = Tokenizer.from_file(str(HERE / "tokenizer" / "tokenizer.json"))
tokenizer.enable_truncation(%(longest)d)
tokenizer.enable_padding(pad_id=%(pad)d%(length)s)


def inputs(text):
    """The tokens of one text."""
    made = tokenizer.encode_batch([text])
    return {
        "input_ids": np.array([one.ids for one in made], dtype=np.int64),
        "attention_mask": np.array([one.attention_mask for one in made], dtype=np.int64),
    }
'''

_VECTORS = '''def inputs(file):
    """Embeddings [N, %(width)d] from an .npy file."""
    return {"features": np.load(file, allow_pickle=False).astype(np.float32).reshape(-1, %(width)d)}
'''

_JAVASCRIPT = """// %(title)s: class probabilities in Node.js (npm install %(packages)s).
//
//     node %(stem)s_predict.mjs %(usage)s
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
%(imports)s
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const session = await ort.InferenceSession.create(here("%(stem)s.onnx"));
const classNames = %(names)s;

%(body)s
for (const given of process.argv.slice(2)) {
  const { probabilities } = await session.run(await inputs(given));
  const p = Array.from(probabilities.data.slice(0, classNames.length));
  const best = p.indexOf(Math.max(...p));
  console.log(best < 0 ? `${given}\\t(black)\\tnan` : `${given}\\t${classNames[best]}\\t${p[best].toFixed(4)}`);
}
"""

_PHOTOS_JS = """// Upright RGB pixels from 0 to 255, of any size: the model resizes, crops and scales them itself.
async function inputs(file) {
  const photo = sharp(file).rotate().flatten({ background: "#ffffff" }).toColourspace("srgb").raw();
  const { data, info } = await photo.toBuffer({ resolveWithObject: true });
  return { pixels_0_255: new ort.Tensor("uint8", new Uint8Array(data), [1, info.height, info.width, 3]) };
}
"""

_TEXTS_JS = """env.allowRemoteModels = false;
env.localModelPath = here("./");
const tokenizer = await AutoTokenizer.from_pretrained("tokenizer");

// The tokens of one text.
async function inputs(text) {
  const made = tokenizer([text], { padding: %(padding)s, truncation: true, max_length: %(longest)d });
  const whole = (one) => new ort.Tensor("int64", one.data, one.dims);
  return { input_ids: whole(made.input_ids), attention_mask: whole(made.attention_mask) };
}
"""

_VECTORS_JS = """// One embedding of %(width)d numbers from a JSON file.
async function inputs(file) {
  const numbers = JSON.parse(readFileSync(file, "utf8"));
  return { features: new ort.Tensor("float32", Float32Array.from(numbers), [1, %(width)d]) };
}
"""

_BROWSER = """
In a browser (onnxruntime-web), the pixels come from a canvas:
```js
const photo = await createImageBitmap(file); // upright already
const canvas = new OffscreenCanvas(photo.width, photo.height);
const pen = canvas.getContext("2d");
pen.fillStyle = "#fff";
pen.fillRect(0, 0, photo.width, photo.height);
pen.drawImage(photo, 0, 0);
const rgba = pen.getImageData(0, 0, photo.width, photo.height).data;
const rgb = new Uint8Array(photo.width * photo.height * 3);
for (let i = 0, j = 0; i < rgba.length; i += 4) { rgb[j++] = rgba[i]; rgb[j++] = rgba[i + 1]; rgb[j++] = rgba[i + 2]; }
const input = new ort.Tensor("uint8", rgb, [1, photo.height, photo.width, 3]);
const { probabilities } = await session.run({ pixels_0_255: input });
```
"""

_MISTAKES = """
Mistakes that the model catches:
- Numbers from 0 to 1: floats are refused by the runtime, because the input is uint8. Whole numbers from 0 to 1 give NaN instead of an
  answer (a photo that is black all over gives NaN too).
- Channels first ([N, 3, H, W]) are refused, because the last axis has 3.

It cannot see that red and blue are exchanged (OpenCV reads BGR: use `image[..., ::-1]`), nor that a photo lies on its side.
Do not resize the photo before: the model does it exactly as it was trained. (fewtune itself decodes a large JPEG file at a reduced size to
save time, so its own answer to such a file can differ a little.)
"""


def notes(stem: str, preparation: Prepared, inputs: Inputs, names: Sequence[str], threshold: float, tokens: bool) -> Mapping[str, bytes]:
    """The files beside `STEM.onnx`, by name. `tokens`: a fast tokenizer (`tokenizer/tokenizer.json`) lies beside it."""
    said = _program_parts(preparation, inputs)
    if said is None or (isinstance(preparation, TextPreparation) and not tokens):
        return {f"{stem}.md": _note(stem, preparation, inputs, names, threshold, programs=False).encode(errors="backslashreplace")}
    kind, values = said
    python, javascript, packages, node, usage, imports, node_imports = _KINDS[kind]
    title = f"{stem}.onnx"
    listed = json.dumps(list(names)).replace("</", "<\\/")
    program = _PYTHON.format(
        title=title, packages=packages, stem=stem, usage=usage, imports=imports, body=python % values if values else python
    )
    script = _JAVASCRIPT % {
        "title": title,
        "packages": node,
        "stem": stem,
        "usage": usage if kind != "vectors" else "EMBEDDING.json ...",
        "imports": node_imports,
        "names": listed,
        "body": javascript % values if values else javascript,
    }
    note = _note(stem, preparation, inputs, names, threshold, programs=True)
    files = {f"{stem}.md": note, f"{stem}_predict.py": program, f"{stem}_predict.mjs": script}
    return {name: content.encode(errors="backslashreplace") for name, content in files.items()}


_KINDS = {
    "photos": (
        *(_PHOTOS, _PHOTOS_JS, "onnxruntime numpy pillow", "onnxruntime-node sharp", "PHOTO ..."),
        *("from PIL import Image, ImageOps\n", 'import sharp from "sharp";\n'),
    ),
    "texts": (
        *(_TEXTS, _TEXTS_JS, "onnxruntime numpy tokenizers", "onnxruntime-node @huggingface/transformers", '"A TEXT" ...'),
        *("from tokenizers import Tokenizer\n", 'import { AutoTokenizer, env } from "@huggingface/transformers";\n'),
    ),
    "vectors": (
        *(_VECTORS, _VECTORS_JS, "onnxruntime numpy", "onnxruntime-node", "EMBEDDINGS.npy ..."),
        *("", 'import { readFileSync } from "node:fs";\n'),
    ),
}


def _program_parts(preparation: Prepared, inputs: Inputs) -> tuple[str, dict[str, object]] | None:
    """(the kind of program, what is filled in); None for preparations that only fewtune has."""
    if isinstance(preparation, ImagePreparation):
        return "photos", {}
    if isinstance(preparation, TextPreparation):
        p, pad = preparation, getattr(preparation.tokenizer, "pad_token_id", None) or 0
        length = f", length={p.max_length}" if p.padded else ""
        return "texts", {"longest": p.max_length, "pad": pad, "length": length, "padding": '"max_length"' if p.padded else "true"}
    return ("vectors", {"width": inputs.listed[0][2][1]}) if inputs.names == ("features",) else None


def _note(stem: str, preparation: Prepared, inputs: Inputs, names: Sequence[str], threshold: float, *, programs: bool) -> str:
    listed = "\n".join(f"| {number} | {name.replace('|', chr(92) + '|')} |" for number, name in enumerate(names))
    shapes = "\n".join(f"- `{name}`: {kind}, [{', '.join(map(_axis, shape))}]" for name, kind, shape in inputs.listed)
    ready = (
        f"\nReady programs: `python {stem}_predict.py`, and in Node.js `node {stem}_predict.mjs`; their first lines say what to install.\n"
        if programs
        else ""
    )
    photos = isinstance(preparation, ImagePreparation)
    numbers = f"\nThe exact numbers, which are in the graph already: `{preparation.text}`\n" if photos else ""
    abstain = f"Below {threshold:g} the model abstains: give no label there.\n" if threshold else ""
    return f"""# {stem}.onnx

## What goes in
{shapes}

{inputs.how}
{numbers}{_MISTAKES if photos else ""}
## What comes out
`probabilities`: float32, [N, {len(names)}], calibrated, in this order. {abstain}
| number | class |
|---|---|
{listed}
{ready}{_BROWSER if photos else ""}"""


def _axis(size: int | str) -> str:
    return {"batch": "N", "sequence": "tokens"}.get(str(size), str(size))


def beside(path: Path, found: Mapping[str, bytes]) -> dict[Path, bytes]:
    """The files of `notes` with their paths beside a model."""
    return {path.with_name(name): content for name, content in found.items()}
