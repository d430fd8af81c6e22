"""A tiny study with every section, of which several workers make the same bytes as one: in float32 on any CPU."""

from pathlib import Path

from tests.tiny import tiny_model, tiny_texts, tiny_tokenizer

STUDY = """\
name = "s"

[backbone]
model = "model"
device = "cpu"
dtype = "float32"

[[gap]]
task = "hypernymy"
validator_shots = "zero"
layers = true
limit = 24

[text]
source = "texts.csv"
label = "mood"
max_tokens = 250
held_out_tokens = 120

[[concepts]]
kind = "topk"
size = 24
k = 4
training = { steps = 4, batch = 64 }

[[heads]]
kind = "new"
reads = "latents"
training = { steps = 2, batch = 32 }

[perplexity]
judge = "judge"
rows = ["topk-latents-new"]
samples = 5
max_new_tokens = 4
own_texts = 4

[steering]
number = 3
places = 6
texts = 6
factors = [0.0]
strengths = []
added = [2.0]
written = 2
samples = 1
max_new_tokens = 3

[[repair]]
kind = "calibrate"
validator_shots = "zero"
limit = 16
positions = 20
allow_low_mass = true

[names]
limit = 3
held_out = 3

[explain]
limit = 20
candidates = 8
chosen = 2
draws = 2

[verdict]
limit = 10
phrasings = false

[damage]
limit = 6
facts = 2
samples = 5
new_tokens = 3
resamples = 20

[pathway]
limit = 8
train_limit = 16
patch_items = 6
draws = 1
resamples = 20
concepts = "topk"
"""


def write_files(folder: Path) -> None:
    """The model, the judge and the texts of the study."""
    for name, family in (("model", "llama"), ("judge", "gpt2")):
        tiny_model(family).save_pretrained(folder / name)
        tiny_tokenizer(bos=family == "llama").save_pretrained(folder / name)
    rows = [f"{text},{len(text) % 5}" for text in tiny_texts()]
    (folder / "texts.csv").write_text("\n".join(["text,mood", *rows]) + "\n")
