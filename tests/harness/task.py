"""A task in a file of lm-evaluation-harness's format, with its data beside it: nothing is fetched."""

import json
from pathlib import Path

_TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: birds.jsonl}}
test_split: test
{rest}
"""

CHOICE = """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
WRITTEN = """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[right]}}"
generation_kwargs: {until: ["e", "Yes"], max_gen_toks: 7}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
DOCUMENTS = 12


def write_task(folder: Path, name: str = "birds", rest: str = CHOICE) -> Path:
    """The task file; words of its data are tokens of the tests' tokenizer, and others."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["food", "bird", "kind", "of", "are", "bee"]
    rows = [
        {
            "question": f"Number {i}: a {words[i % 6]} is a kind of " if i % 3 else f"Are {words[i % 5]}",
            "choices": [words[i % 4], "Yes, a bird", "no"],
            "right": i % 3,
            "text": f"The {words[i % 6]} of number {i} is naïve. " * (1 + i % 4),
        }
        for i in range(DOCUMENTS)
    ]
    (folder / "birds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(_TASK.format(name=name, rest=rest), encoding="utf-8")
    return path
